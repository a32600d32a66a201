"""What a diffusion prior learns from: images with the depth that CSD would show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap
from diff2i2p_core.losses.csd import control_image
from diff2i2p_core.ops.render import render_depth
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.typing import Array

HEIGHT = 96
"""Rows of the scenes' images: enough for a prior of 64 x 64 after cropping."""
RENDERED_ROWS = 60
"""CSD renders a quarter of 240 rows."""
SMALLEST_CROP = 0.7
_SUBMAPS = SubmapSettings(spacing=0.05)
_SEEN = np.eye(4)
Value = TypeVar("Value", bound=np.generic)


class Example(NamedTuple):
    image: Tensor
    """(3, S, S) RGB in [0, 1]."""
    control: Tensor
    """(3, S, S) the ControlNet's condition (`losses.csd.control_image`)."""


class PriorFrames:
    """Endless random crops, half of them mirrored, with the scene's cloud as CSD renders it.

    Example n depends only on (seed, n).
    """

    def __init__(self, scenes: Sequence[Scene], weights: Sequence[float], size: int, seed: int) -> None:
        self.scenes, self.size, self.seed = scenes, size, seed
        self.weights = np.asarray(weights, float) / np.sum(weights)
        self._rendered: dict[tuple[int, int], NDArray[np.float32]] = {}

    def __getitem__(self, n: int) -> Example:
        rng = np.random.default_rng([self.seed, n])
        number = int(rng.choice(len(self.scenes), p=self.weights))
        scene = self.scenes[number]
        frame = int(rng.integers(len(scene)))
        if (number, frame) not in self._rendered:  # 19 kB each
            self._rendered[number, frame] = seen_depth(scene, frame)
        image, depth = scene.images[frame], self._rendered[number, frame]
        fraction = rng.uniform(SMALLEST_CROP, 1)
        top, left = rng.uniform(0, 1 - fraction, 2)
        image, depth = _crop(image, top, left, fraction), _crop(depth, top, left, fraction)
        if rng.random() < 0.5:
            image, depth = image[:, ::-1], depth[:, ::-1]
        return Example(square(image, self.size), condition(depth, depth, self.size))

    def batch(self, first: int, count: int) -> Example:
        """Examples [first, first + count)."""
        examples = [self[n] for n in range(first, first + count)]
        return Example(*(torch.stack(part) for part in zip(*examples, strict=True)))


def frame_submap(scene: Scene, frame: int) -> PointCloud:
    """What a frame sees of the scene's cloud, in its camera frame."""
    return cut_submap(scene.cloud, invert(scene.world_from_cameras[frame]), _SUBMAPS)


def seen_depth(scene: Scene, frame: int, moved_from_camera: Array = _SEEN) -> NDArray[np.float32]:
    """What a camera that has moved away from a frame's sees of the frame's submap: (h, w) metres, 0 where
    there is nothing."""
    submap = frame_submap(scene, frame)
    camera = scene.camera
    rendered = render_depth(
        torch.from_numpy(submap.points).float()[None],
        torch.from_numpy(moved_from_camera).float()[None],
        torch.from_numpy(camera.matrix).float()[None],
        (camera.height, camera.width),
        scale=RENDERED_ROWS / camera.height,
    )
    depth: NDArray[np.float32] = rendered.depth[0].numpy()
    return depth


def square(image: NDArray[np.uint8], size: int) -> Tensor:
    """(H, W, 3) to (3, size, size) in [0, 1]."""
    channels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(channels, (size, size), mode="bilinear", align_corners=False, antialias=True)[0]


def condition(depth: NDArray[np.float32], truth: NDArray[np.float32], size: int) -> Tensor:
    """The control image (3, size, size) of a depth map, in the range of the true one."""
    own, true = (torch.from_numpy(np.ascontiguousarray(values))[None] for values in (depth, truth))
    return control_image(own, true, size)[0]


def _crop(array: NDArray[Value], top: float, left: float, fraction: float) -> NDArray[Value]:
    """The same part of an image and of a depth map of another size."""
    rows, columns = array.shape[:2]
    height, width = round(fraction * rows), round(fraction * columns)
    row, column = round(top * rows), round(left * columns)
    return array[row : row + height, column : column + width]
