"""Register images in lidar scans with intensity, from poses that are wrong by up to 0.5 m and 3 deg.

python examples/06_lidar_scans.py                         # in a synthetic room whose points have no colours
python examples/06_lidar_scans.py scans/pair_1 scans/pair_2 --starts 50 --foreign
                                                          # with your own scans

A folder of a scan has cloud.pcd, image.jpg, camera.yaml and camera_from_cloud.txt (the true pose, 4x4).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

import synthetic_room
from diff2i2p_core import Camera, Localizer, PointCloud, PosedFrames, read_cloud
from diff2i2p_core.io.fused_frames import fuse_frames

GOOD_METRES, GOOD_DEG = 0.2, 0.5


@dataclass(frozen=True)
class Scan:
    name: str
    cloud: PointCloud
    image: np.ndarray
    camera: Camera
    map_from_camera: np.ndarray


def read_scan(folder: Path) -> Scan:
    image = np.asarray(Image.open(folder / "image.jpg").convert("RGB"))
    truth = np.linalg.inv(np.loadtxt(folder / "camera_from_cloud.txt"))
    return Scan(
        folder.name, read_cloud(folder / "cloud.pcd"), image, Camera.from_file(folder / "camera.yaml"), truth
    )


def scans_of_a_room() -> list[Scan]:
    """Two images of the synthetic room, and its points with one colour channel as their intensity."""
    frames = PosedFrames(synthetic_room.map_frames())
    colored = fuse_frames(frames, frames.numbers, 0.02)
    assert colored.colors is not None
    cloud = PointCloud(colored.points, intensity=colored.colors[:, 1])
    queries = PosedFrames(synthetic_room.query_frames())
    shown = [(n, queries[n]) for n in (0, 1)]
    return [Scan(f"frame {n}", cloud, f.image, queries.camera, f.world_from_camera) for n, f in shown]


def disturbed(pose: np.ndarray, rng: np.random.Generator, metres: float, degrees: float) -> np.ndarray:
    """The pose moved and turned about random axes by up to these limits."""
    shift, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(np.radians(rng.uniform(0, degrees)) * axis).as_matrix()
    result = np.array(pose)
    result[:3, :3] = turn @ pose[:3, :3]
    result[:3, 3] += rng.uniform(0, metres) * shift
    return result


def errors(pose: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Metres and degrees."""
    turn = Rotation.from_matrix(pose[:3, :3] @ truth[:3, :3].T).magnitude()
    return float(np.linalg.norm(pose[:3, 3] - truth[:3, 3])), float(np.degrees(turn))


def main() -> None:
    parser = argparse.ArgumentParser(description="Register images in lidar scans from disturbed poses.")
    parser.add_argument("scans", nargs="*", type=Path, help="folders of scans")
    parser.add_argument("--starts", type=int, default=2, help="disturbed poses for each scan")
    parser.add_argument("--foreign", action="store_true", help="also try the images of the other scans")
    args = parser.parse_args()
    scans = [read_scan(folder) for folder in args.scans] or scans_of_a_room()

    for number, scan in enumerate(scans):
        rng = np.random.default_rng(0)
        localizer = Localizer.around(scan.cloud, scan.map_from_camera)
        found, foreign = [], 0
        for start in range(args.starts):
            prior = disturbed(scan.map_from_camera, rng, 0.5, 3.0)
            answer = localizer.localize(scan.image, scan.camera, prior=prior)
            if answer.map_from_camera is not None:
                found.append(errors(answer.map_from_camera, scan.map_from_camera))
            if args.foreign:
                other = scans[(number + 1 + start % (len(scans) - 1)) % len(scans)]
                foreign += localizer.localize(other.image, other.camera, prior=prior).localized
        good = sum(metres < GOOD_METRES and degrees < GOOD_DEG for metres, degrees in found)
        print(
            f"{scan.name}: {good} of {args.starts} within {GOOD_METRES} m and {GOOD_DEG} deg, "
            f"{len(found) - good} worse, {args.starts - len(found)} refused"
        )
        if found:
            print("  median error {:.2f} m, {:.2f} deg".format(*np.median(found, axis=0)))
        if args.foreign:
            print(f"  images of other scans: {foreign} of {args.starts} accepted")


if __name__ == "__main__":
    main()
