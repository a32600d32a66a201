"""Pairs of benchmarks, 7-Scenes, RGB-D Scenes V2 and KITTI, in the layout of 2D3D-MATR."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from diff2i2p_core.errors import InputError, quoted
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import MAX_DEPTH
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.voxels import voxel_means
from diff2i2p_core.io.image_files import read_depth, read_image
from diff2i2p_core.io.rgbd_folder import read_matrix
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.pairs import released
from diff2i2p_core.pairs.augmentation import Motion, enlarge, ground_motion, move_cloud, random_motion
from diff2i2p_core.pairs.benchmarks import BENCHMARKS, depth_limit
from diff2i2p_core.pairs.metadata import Entry, Layout, check_files, read_metadata
from diff2i2p_core.pairs.pair import Pair, make_pair
from diff2i2p_core.pairs.targets import Matching
from diff2i2p_core.settings import Section

SPACING = 0.025
"""Metres: voxel of the benchmarks' clouds."""
_MOTIONS: dict[str, Motion] = {
    "corrected": random_motion,
    "released": released.random_motion,
    "ground": ground_motion,
}

Role = Literal["train", "validation", "test"]


class BenchmarkSettings(Section):
    """A benchmark on disk, and which part of it is used."""

    root: Path
    """Folder that holds `metadata` and `data`."""
    layout: Layout = "7scenes"
    train: str = "train"
    validation: str = "val"
    test: str = "test"
    """Names of the subsets."""
    scenes: tuple[str, ...] | None = None
    """Scenes whose pairs are used; null: all."""
    test_scenes: tuple[str, ...] | None = None
    """The same for validation and testing; null: `scenes`. Others than `scenes` test on unseen scenes."""
    min_overlap: float | None = Field(default=None, ge=0, le=1)
    """Pairs with less overlap are left out. null: as released, 0.5 (7scenes) or no limit."""
    max_points: int | None = Field(default=30000, gt=0)
    """Number of points of a training cloud, selected at random. null: all."""
    test_points: int | None = Field(default=None, gt=0)
    """The same for validation and testing. null: as released, all (7scenes) or 30000."""
    max_depth: float | None = Field(default=None, gt=0, le=65)
    """Depth beyond this many metres counts as unknown. null: that of `prepare` for a set that it made, else
    as released, 6."""
    augmentation: Literal["corrected", "released", "ground", "none"] = "corrected"
    """Random motion and noise of training clouds. `ground`, as in the literature on KITTI: turned by any
    angle and moved by up to 10 m on the ground, for clouds whose y axis is vertical; also in validation and
    tests, where a pair has the same motion in every run."""
    scale_augmentation: float = Field(default=1.0, ge=1, le=4)
    """Half of the training images are enlarged by up to this factor about their centre. 1: none, as in the
    released training, whose code has 1.2 as an option."""
    matching: Matching = "mutual_nearest"
    """True correspondences: mutually nearest pixels and points, the same with the released error of up to a
    row (R3), or all pairs within the `radius`."""

    @field_validator("scenes", "test_scenes")
    @classmethod
    def _some(cls, scenes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if scenes == ():
            raise ValueError("names no scene; name one or more, or null for all")
        return scenes

    @property
    def test_name(self) -> str:
        """The tested subset and, if they are chosen, its scenes."""
        return "-".join((self.test, *(self.scenes_of("test") or ())))

    def scenes_of(self, role: Role) -> tuple[str, ...] | None:
        """Scenes that are used for a role; None: all."""
        return self.scenes if role == "train" else self.test_scenes or self.scenes


class BenchmarkPairs:
    """Pairs of one subset: shuffled each epoch and augmented for training, else in the file's order.

    A training pair depends only on (seed, n), a validation or test pair only on its index in the subset.
    """

    def __init__(
        self, settings: BenchmarkSettings, config: ModelConfig, role: Role = "train", *, seed: int = 0
    ) -> None:
        if config.point_features != "geometry":
            raise InputError(
                f"{settings.root}: the benchmark's clouds have no {config.point_features}; "
                "set model.point_features to geometry"
            )
        self.settings, self.config, self.role, self.seed = settings, config, role, seed
        subset = getattr(settings, role)
        least = settings.min_overlap
        if least is None:
            least = BENCHMARKS[settings.layout].min_overlap
        entries = read_metadata(settings.root, settings.layout, subset)
        entries = _of_scenes(entries, settings.scenes_of(role), f"{settings.root}: '{subset}'")
        self.entries = [entry for entry in entries if entry.overlap >= least]
        if not self.entries:
            raise InputError(
                f"{settings.root}: none of the {len(entries)} pairs of '{subset}' has an overlap of {least}; "
                "lower min_overlap"
            )
        check_files(settings.root, self.entries)
        self.max_depth = settings.max_depth or depth_limit(settings.root, settings.layout)
        self.epoch_length = len(self.entries)

    def entry(self, n: int) -> Entry:
        """The entry that pair n is made from."""
        epoch, index = divmod(n, self.epoch_length)
        if self.role == "train":
            index = int(np.random.default_rng([self.seed, 1, epoch]).permutation(self.epoch_length)[index])
        return self.entries[index]

    def __getitem__(self, n: int) -> Pair:
        settings, training = self.settings, self.role == "train"
        entry = self.entry(n)
        rng = np.random.default_rng([self.seed, 2, n] if training else [0, 2, n % self.epoch_length])
        image, depth, camera = read_frame(settings.root, entry, self.max_depth)
        key: str | None = f"{settings.layout}/{entry.image_file}@{self.config.image.height or camera.height}"
        if training and settings.scale_augmentation > 1 and rng.random() < 0.5:
            image, depth, camera = enlarge(image, depth, camera, rng.uniform(1, settings.scale_augmentation))
            key = None
        cloud, camera_from_cloud = read_cloud(settings.root, entry), entry.camera_from_cloud
        test_points = settings.test_points or BENCHMARKS[settings.layout].test_points
        limit = settings.max_points if training else test_points
        if limit is not None and len(cloud) > limit:
            cloud = cloud[rng.permutation(len(cloud))[:limit]]
        moved = training or settings.augmentation == "ground"
        motion = _MOTIONS.get(settings.augmentation) if moved else None
        if motion is not None:
            cloud, camera_from_cloud = move_cloud(cloud, camera_from_cloud, motion, rng)
        if self.config.points.voxel > SPACING:
            cloud = voxel_means(cloud, self.config.points.voxel)
        pair = make_pair(
            image,
            depth,
            camera,
            PointCloud(cloud),
            camera_from_cloud,
            self.config,
            index=n,
            name=entry.name,
            image_key=key,
            matching=settings.matching,
        )
        assert pair is not None  # no minimum overlap is required
        return pair


def _of_scenes(entries: list[Entry], scenes: tuple[str, ...] | None, where: str) -> list[Entry]:
    """The entries of `scenes`; None: of all."""
    if scenes is None:
        return entries
    known = sorted({entry.scene for entry in entries})
    if unknown := [scene for scene in scenes if scene not in known]:
        raise InputError(f"{where} has no scene {quoted(unknown[0])}; it has {', '.join(known)}")
    return [entry for entry in entries if entry.scene in scenes]


def read_frame(
    root: Path, entry: Entry, max_depth: float = MAX_DEPTH
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Camera]:
    """An entry's image (H, W, 3), depth (H, W) in metres up to `max_depth`, and their camera.

    The camera is that of the scene, unless the image has its own in `IMAGE.intrinsics.txt` beside it.
    """
    folder = root / "data"
    image = read_image(folder / entry.image_file)
    depth = read_depth(folder / entry.depth_file, max_depth)
    height, width = image.shape[:2]
    if depth.shape != (height, width):
        raise InputError(
            f"{folder / entry.depth_file}: {depth.shape[1]}x{depth.shape[0]}, but its image is "
            f"{width}x{height}; get both again"
        )
    path = (folder / entry.image_file).with_suffix(".intrinsics.txt")
    if not path.is_file():
        path = folder / Path(entry.image_file).parts[0] / "camera-intrinsics.txt"
    matrix = read_matrix(path, (3, 3), "each scene of the benchmark has one", "get the file again")
    return image, depth, Camera.from_matrix(matrix, width, height)


def read_cloud(root: Path, entry: Entry) -> NDArray[np.float32]:
    """An entry's cloud (N, 3) in metres."""
    path = root / "data" / entry.cloud_file
    try:
        cloud = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a complete .npy file of numbers ({error}); get it again") from None
    if not isinstance(cloud, np.ndarray) or cloud.dtype.kind != "f" or cloud.shape[1:] != (3,):
        raise InputError(f"{path}: not an (N, 3) array of coordinates; get it again")
    if len(cloud) == 0 or not np.isfinite(cloud).all():
        raise InputError(f"{path}: no points, or some points are not finite; get it again")
    return np.ascontiguousarray(cloud, dtype=np.float32)
