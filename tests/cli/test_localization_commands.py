"""`map`, `localize` and `register`: output, exit status and bad input, as promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from in_process import Command

from diff2i2p_core.cli import options
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.mapping.map_file import load_info
from diff2i2p_core.mapping.viewpoints import looking

KEYS = {
    "localized": bool,
    "reason": str,
    "map_from_camera": list,
    "covariance": list,
    "num_correspondences": int,
    "num_inliers": int,
    "inlier_ratio": float,
    "reprojection_error_px": float,
    "agreement": float,
    "depth_agreement": float,
    "matcher": str,
    "submap": int,
    "latency_ms": dict,
    "origin": type(None),
    "warnings": list,
}
YAML = """image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [260, 0, 159.5, 0, 260, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
"""


@pytest.fixture
def command(command: Command, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> Command:
    """Run `diff2i2p` in this process, in the workplace."""
    monkeypatch.chdir(workplace)
    return command


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, room_cloud: PointCloud, tiny_weights: Path) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    points = room_cloud.points
    write_ply(folder / "room.ply", room_cloud)
    near = (points[:, :2] < 2.2).all(axis=1)
    write_ply(folder / "corner.ply", room_cloud.take(near))
    write_ply(folder / "gray.ply", PointCloud(points))
    write_ply(folder / "empty.ply", room_cloud.take(slice(0)))
    write_ply(folder / "nan.ply", PointCloud(np.full((5, 3), np.nan, np.float32)))
    (folder / "cut.ply").write_bytes((folder / "room.ply").read_bytes()[:5000])
    views = [looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (0.0, 1.5)]
    write_trajectory(folder / "views.tum", [0, 1], views)
    (folder / "bad.tum").write_text("0 1 2\n")
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), image)
    cv2.imwrite(str(folder / "small.png"), image[:100])
    (folder / "cut.png").write_bytes((folder / "image.png").read_bytes()[:2000])
    cv2.imwrite(str(folder / "strip.png"), np.zeros((10, 8000, 3), np.uint8))
    (folder / "turned.txt").write_text("260 0 0\n0 260 0\n159.5 119.5 1\n")
    (folder / "camera.yaml").write_text(YAML)
    (folder / "tiny.safetensors").write_bytes(tiny_weights.read_bytes())
    (folder / "cut.safetensors").write_bytes(tiny_weights.read_bytes()[:3000])
    return folder


@pytest.fixture
def room_map(command: Command, workplace: Path) -> Path:
    path = workplace / "room.map"
    if not path.exists():
        done = command(
            "map",
            "build",
            "room.ply",
            "-o",
            path,
            "--trajectory",
            "views.tum",
            "--weights",
            "tiny.safetensors",
        )
        assert done.status == 0, done.err
        assert "2 submaps" in done.out
    return path


LOCALIZE = ("localize", "--map", "room.map", "--weights", "tiny.safetensors", "--image")


def test_map_info(command: Command, room_map: Path) -> None:
    words = command("map", "info", "room.map")
    assert words.status == 0 and "tiny" in words.out and "2 with" in words.out
    content = json.loads(command("map", "info", "room.map", "--json").out)
    assert (
        content["submaps"] == 2 and content["weights_name"] == "tiny" and content["settings"]["voxel"] == 0.05
    )


def test_map_join(command: Command, room_map: Path, workplace: Path) -> None:
    (workplace / "again.map").write_bytes(room_map.read_bytes())
    done = command("map", "join", "both.map", "room.map", "again.map", "--apart", "3")
    assert done.status == 0 and "4 submaps" in done.out, done.err
    content = json.loads(command("map", "info", "both.map", "--json").out)
    low, high = content["extent"]
    assert content["submaps"] == 4 and content["source"].endswith("(3 m apart along x)")
    assert high[0] - low[0] == pytest.approx(2 * 4 + 3, abs=0.1) and content["memory_bytes"] > 10_000
    refused = command("map", "join", "both.map", "room.map", "room.map")
    assert refused.status == 2 and "nothing to join" in refused.err


def test_map_build_without_trajectory_samples_views(command: Command) -> None:
    done = command("map", "build", "corner.ply", "-o", "sampled.map", "--weights", "tiny.safetensors")
    assert done.status == 0, done.err
    assert json.loads(command("map", "info", "sampled.map", "--json").out)["submaps"] >= 4


def test_not_localized_is_json_and_status_3(command: Command, room_map: Path) -> None:
    done = command(*LOCALIZE, "image.png", "--camera", "camera.yaml", "--json")
    assert done.status == 3, done.err
    content = json.loads(done.out)
    assert content.keys() == KEYS.keys()
    assert content["localized"] is False and content["reason"] and content["map_from_camera"] is None
    done = command(*LOCALIZE, "image.png", "--camera", "260,260,159.5,119.5")
    assert done.status == 3 and done.out.startswith("not localized: ")


def test_localized_is_json_and_status_0(
    command: Command, room_map: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    priors: list[np.ndarray | None] = []

    def localize(
        self: Localizer, image: np.ndarray, camera: object, **options: np.ndarray | None
    ) -> Localization:
        priors.append(options["prior"])
        return Localization(
            localized=True,
            reason="",
            map_from_camera=np.eye(4),
            covariance=np.eye(6),
            num_correspondences=200,
            num_inliers=100,
            inlier_ratio=0.5,
            reprojection_error_px=3.25,
            agreement=0.93,
            submap=1,
            latency_ms={"image": 1.0, "match": 2.0, "pose": 3.0},
            inlier_pixels=np.zeros((0, 2)),
            inlier_points=np.zeros((0, 3)),
        )

    monkeypatch.setattr(Localizer, "localize", localize)
    arguments = (*LOCALIZE, "image.png", "--camera", "camera.yaml", "--prior", "1,2,3,0,0,0,1")
    done = command(*arguments, "--json")
    assert done.status == 0, done.err
    content = json.loads(done.out)
    assert {name: type(value) for name, value in content.items()} == KEYS
    assert np.shape(content["map_from_camera"]) == (4, 4) and np.shape(content["covariance"]) == (6, 6)
    assert set(content["latency_ms"]) == {"image", "match", "pose"}
    assert priors[0] is not None
    np.testing.assert_array_equal(priors[0][:3, 3], [1, 2, 3])
    words = command(*arguments)
    assert words.status == 0 and "localized in submap 1" in words.out and "100 of 200" in words.out
    assert "agreement with the map 0.93" in words.out


def test_a_camera_that_is_neither_numbers_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fx,fy,cx,cy"):
        options.parse_camera("a" * 300 + ",1,2,3", np.zeros((240, 320, 3), np.uint8))


def test_a_camera_matrix_is_a_camera_of_the_images_size(tmp_path: Path) -> None:
    (tmp_path / "camera-intrinsics.txt").write_text("260 0 159.5\n0 261 119.5\n0 0 1\n")
    image = np.zeros((240, 320, 3), np.uint8)
    camera = options.parse_camera(str(tmp_path / "camera-intrinsics.txt"), image)
    assert camera == options.parse_camera("260,261,159.5,119.5", image)


def test_register(command: Command) -> None:
    done = command(
        "register", "--cloud", "room.ply", "--image", "image.png", "--camera", "camera.yaml",
        "--weights", "tiny.safetensors", "--json",
    )  # fmt: skip
    assert done.status == 3, done.err
    assert json.loads(done.out).keys() == KEYS.keys()


BUILD = ("map", "build", "-o", "x.map", "--weights", "tiny.safetensors")
REGISTER = (
    "register",
    "--image",
    "image.png",
    "--camera",
    "camera.yaml",
    "--weights",
    "tiny.safetensors",
    "--cloud",
)


def test_a_cloud_without_colours_is_encoded_by_weights_that_need_none(
    command: Command, workplace: Path
) -> None:
    command("map", "build", "gray.ply", "-o", "gray.map", "--trajectory", "views.tum")
    assert load_info(workplace / "gray.map")[0].weights_name == "lite-geometry"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((*BUILD, "none.ply"), ("none.ply", "no such file")),
        ((*BUILD, "cut.ply"), ("cut.ply", "truncated")),
        ((*BUILD, "empty.ply"), ("empty.ply", "no points")),
        ((*BUILD, "nan.ply"), ("nan.ply", "NaN")),
        ((*BUILD, "image.png"), ("image.png", "unknown kind")),
        ((*BUILD, "gray.ply"), ("rgb",)),
        ((*BUILD, "room.ply", "--trajectory", "bad.tum"), ("bad.tum, line 1",)),
        ((*BUILD, "room.ply", "--trajectory", "none.tum"), ("none.tum", "cannot be read")),
        ((*BUILD, "room.ply", "--up", "q"), ("--up",)),
        ((*BUILD, "room.ply", "--device", "toaster"), ("--device",)),
        (("map", "build", "room.ply", "-o", "x.map", "--weights", "none"), ("none",)),
        (("map", "build", "room.ply", "-o", "x.map", "--weights", "cut.safetensors"), ("cut.safetensors",)),
        (("map", "info", "room.ply"), ("room.ply: a cloud, not a map file", "diff2i2p map build")),
        (("map", "info", "tiny.safetensors"), ("tiny.safetensors", "expected 'diff2i2p-map")),
        ((*LOCALIZE, "none.png", "--camera", "camera.yaml"), ("none.png", "No such file")),
        ((*LOCALIZE, "cut.png", "--camera", "camera.yaml"), ("cut.png",)),
        ((*LOCALIZE, "small.png", "--camera", "camera.yaml"), ("camera.yaml", "320x240", "320x100")),
        ((*LOCALIZE, "image.png", "--camera", "none.yaml"), ("none.yaml",)),
        ((*LOCALIZE, "image.png", "--camera", "none.txt"), ("none.txt", "cannot be read")),
        ((*LOCALIZE, "image.png", "--camera", "bad.tum"), ("bad.tum", "not a camera_info YAML")),
        ((*LOCALIZE, "image.png", "--camera", "1,2,3,x"), ("camera '1,2,3,x'", "fx,fy,cx,cy")),
        ((*LOCALIZE, "image.png", "--camera", "0,0,3,3"), ("focal",)),
        ((*LOCALIZE, "image.png", "--camera", "520,520,320,240"), ("principal point 320, 240", "320x240")),
        ((*LOCALIZE, "image.png", "--camera", "turned.txt"), ("turned.txt", "transposed")),
        ((*LOCALIZE, "strip.png", "--camera", "8000,8000,4000,5"), ("strip.png", "8000x10", "20:1")),
        ((*REGISTER, "room.ply", "--image", "strip.png"), ("strip.png", "8000x10")),
        ((*LOCALIZE, "image.png", "--camera", "camera.yaml", "--prior", "1,2"), ("--prior",)),
        ((*LOCALIZE, "image.png", "--camera", "camera.yaml", "--prior", "0,0,0,0,0,0,0"), ("--prior",)),
        ((*REGISTER, "nan.ply"), ("nan.ply",)),
        ((*REGISTER, "gray.ply"), ("rgb",)),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(
    command: Command, room_map: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = command(*arguments)
    assert done.status == 2 and done.out == ""
    line = done.err.strip().splitlines()[-1]
    assert line.startswith("diff2i2p: ") and all(part in line for part in parts), done.err
    assert "Traceback" not in done.err
    assert not Path("x.map").exists()


def test_a_map_made_with_other_weights_is_refused(command: Command, room_map: Path, workplace: Path) -> None:
    from diff2i2p_core.weights.checkpoint import load_model, save_model

    save_model(load_model(workplace / "tiny.safetensors"), workplace / "other.safetensors", {"note": "other"})
    done = command(
        "localize",
        "--map",
        "room.map",
        "--weights",
        "other.safetensors",
        "--image",
        "image.png",
        "--camera",
        "camera.yaml",
    )
    assert done.status == 2 and "room.map: made with weights 'tiny'" in done.err and "rebuild" in done.err


def test_the_real_command_in_its_own_process(workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "diff2i2p_core.cli.main", "map", "info", "none.map"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("diff2i2p: none.map: no such map file")
    assert len(done.stderr.strip().splitlines()) == 1
