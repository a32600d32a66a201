"""Renders places for training geometry features, near the poses of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.engine.ring_clouds import ring_cloud, up_of
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.fused_views import View, fuse_views, thinned
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.io.fused_frames import fuse_frames
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.denoise import denoised
from diff2i2p_core.mapping.source import fused_spacing
from diff2i2p_core.models.inputs import resized
from diff2i2p_core.ops.render_view import render_shape
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.rooms.clutter import cluttered
from diff2i2p_core.rooms.room import camera_path, make_room
from diff2i2p_core.rooms.sensors import kinect_noise
from diff2i2p_core.typing import Array, Progress

WIDTH, HEIGHT = 320, 240
"""Pixels of images and renders."""
FARTHEST = 8.0
"""Metres. Farther points are not drawn."""
_METRES, _DEGREES = 0.5, 20.0
"""Maximum distance and angle between the pose of an image and that of a render."""
_FOCALS, _STEP, _SPACINGS, _SENSOR_REACH = (220.0, 290.0), 0.35, (0.015, 0.035), 6.0
"""Of synthetic rooms: focal lengths in pixels, then metres between images, between points, of the sensor."""


def small_camera(camera: Camera) -> Camera:
    """The camera of the images of `WIDTH` x `HEIGHT`, which are cut in the middle to that shape."""
    whole, left, top = _cut(camera)
    return Camera(WIDTH, HEIGHT, whole.fx, whole.fy, whole.cx - left, whole.cy - top)


def small_image(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Grey (H, W) image of `small_camera`."""
    whole, left, top = _cut(camera)
    grey = resized(image, whole).mean(axis=2)
    return np.asarray(np.rint(grey[top : top + HEIGHT, left : left + WIDTH]), np.uint8)


def _cut(camera: Camera) -> tuple[Camera, int, int]:
    """The camera at the size that covers `WIDTH` x `HEIGHT`, and the left and top pixel of the cut."""
    scale = max(WIDTH / camera.width, HEIGHT / camera.height)
    whole = camera.scaled_to(round(camera.width * scale), round(camera.height * scale))
    return whole, (whole.width - WIDTH) // 2, (whole.height - HEIGHT) // 2


def place_of_folder(
    frames: PosedFrames,
    numbers: Sequence[int],
    *,
    views: int,
    seed: int = 0,
    images: Sequence[int] | None = None,
    rings: bool = False,
    progress: Progress | None = None,
) -> Place:
    """A place from the frames `numbers`, with renders from `views` poses near each of the images `images`
    (default all). With `rings`, the renders are of what a spinning lidar would measure."""
    spacing = fused_spacing(frames.camera)  # as in maps, so that the noise of both is treated alike
    cloud = fuse_frames(frames, numbers, spacing, 2 if frames.camera.width > 400 else 1, progress=progress)
    chosen = numbers if images is None else images
    index_of = {number: index for index, number in enumerate(frames.numbers)}
    shots = []
    for done, number in enumerate(chosen, start=1):
        frame = frames[index_of[number]]
        shots.append((small_image(frame.image, frames.camera), frame.world_from_camera))
        if progress is not None:
            progress("reading images", done, len(chosen))
    return place_of_shots(cloud, shots, small_camera(frames.camera), views, seed, rings, progress)


def place_of_room(seed: int, *, images: int, views: int, clutter: bool = True, rings: bool = False) -> Place:
    """A place from a synthetic room: its cloud is fused from simulated depth images along a path, or with
    `rings` from what a spinning lidar would measure of it."""
    room = make_room(seed)
    scene = cluttered(room, seed) if clutter else room.scene
    rng = np.random.default_rng([seed, 5])
    focal = rng.uniform(*_FOCALS)
    camera = Camera(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    shots, depths, seen = [], [], []
    for pose in camera_path(room, images, seed, step=_STEP):
        color, exact = scene.render(camera, pose)
        shots.append((np.rint(color.mean(axis=2)).astype(np.uint8), pose))
        depths.append(exact.astype(np.float16))
        depth = thinned(kinect_noise(exact, camera, rng), 1, _SENSOR_REACH)
        points = back_project(depth, camera).reshape(-1, 3)
        points = points[points[:, 2] > 0]
        seen.append(View(transform_points(pose, points), points[:, 2], np.zeros((len(points), 0))))
    points, _ = fuse_views(seen, rng.uniform(*_SPACINGS), min_views=1)
    place = place_of_shots(PointCloud(points), shots, camera, views, seed, rings)
    return replace(place, depths=np.stack(depths))


def place_of_shots(
    cloud: PointCloud,
    shots: Sequence[tuple[NDArray[np.uint8], Array]],
    camera: Camera,
    views: int,
    seed: int,
    rings: bool = False,
    progress: Progress | None = None,
) -> Place:
    """A place from grey images (H, W) of `camera` with their poses world_from_camera."""
    rng = np.random.default_rng(seed)
    poses = np.stack([pose for _, pose in shots])
    whole = _Renderer(cloud, camera)
    drawn = _Renderer(ring_cloud(cloud, poses, up_of(poses), rng), camera) if rings else whole

    depths, renders, frame_of, relative = [], [], [], []
    for index, pose in enumerate(poses):
        depths.append(whole.depth(pose))
        for _ in range(views):
            near = disturbance(rng)
            renders.append(drawn.depth(pose @ near))
            frame_of.append(index)
            relative.append(near)
        if progress is not None:
            progress("rendering", index + 1, len(shots))
    return Place(
        np.stack([image for image, _ in shots]),
        np.stack(depths),
        np.stack(renders),
        np.array(frame_of),
        np.stack(relative),
        np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
    )


class _Renderer:
    """Depth of a cloud."""

    def __init__(self, cloud: PointCloud, camera: Camera) -> None:
        self._blocks, self._camera = BlockCloud.of(denoised(cloud)), camera
        self._spacing = self._blocks.spacing()

    def depth(self, pose: Array) -> NDArray[np.float16]:
        """(H, W) metres from `pose` (4, 4), world_from_camera."""
        view = invert(pose)
        seen = self._blocks.seen(view, self._camera, (0.15, FARTHEST))
        shown = render_shape(seen, view, self._camera, self._spacing, min_depth=0.15, max_depth=FARTHEST)
        return shown.depth.astype(np.float16)


def disturbance(rng: np.random.Generator) -> Array:
    """A random rigid transform (4, 4): small ones are as likely as large ones."""
    size = rng.uniform(0, 1)
    shift, axis = rng.normal(size=3), rng.normal(size=3)
    shift *= size * _METRES / np.linalg.norm(shift)
    axis *= rng.uniform(0, 1) * np.radians(_DEGREES) / np.linalg.norm(axis)
    return compose(Rotation.from_rotvec(axis).as_matrix(), shift)
