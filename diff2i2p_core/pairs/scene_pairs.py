"""Training pairs from scenes: an image, a submap from a nearby view, and the true correspondences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import compose, invert
from diff2i2p_core.geometry.submaps import SubmapSettings, cut_submap
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.pairs.novel_views import novel_view
from diff2i2p_core.pairs.pair import Pair, make_pair
from diff2i2p_core.pairs.scenes import Scene
from diff2i2p_core.settings import Section
from diff2i2p_core.typing import Array


class PairSettings(Section):
    """How pairs are drawn and augmented."""

    other_frame: float = 0.6
    """Fraction of submaps cut from another frame's view; the others use the query's view, jittered."""
    min_overlap: float = 0.3
    """Minimum fraction of the image's pixels with depth that the submap must cover."""
    jitter_deg: float = 12.0
    jitter_m: float = 0.25
    """Standard deviations of the view's rotation and translation."""
    roll_deg: float = 8.0
    zoom: tuple[float, float] = (0.85, 1.2)
    """In-plane rotation and zoom of the image. The true pose and intrinsics are changed accordingly."""
    novel_view: float = 0.0
    """Fraction of images that are moved to a new view by their depth, up to `novel_view_m` and
    `novel_view_deg`."""
    novel_view_m: float = 0.4
    novel_view_deg: float = 12.0
    color_jitter: float = 0.25
    """Strength of brightness, contrast, colour and blur changes of image and cloud. 0: none."""
    point_noise: float = 0.004
    """Standard deviation of noise on the cloud's points, in metres."""
    point_dropout: float = 0.2
    """Maximum fraction of the map's points that is left out."""
    max_points: int = 9000


class ScenePairs(torch.utils.data.Dataset[Pair]):
    """Endless random pairs. Pair n depends only on (seed, n), so a run can be resumed exactly."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        weights: Sequence[float],
        config: ModelConfig,
        settings: PairSettings | None = None,
        submaps: SubmapSettings | None = None,
        *,
        seed: int = 0,
        epoch_length: int = 1000,
        augment: bool = True,
    ) -> None:
        self.scenes = list(scenes)
        self.weights = np.asarray(weights, float) / np.sum(weights)
        self.config = config
        self.settings = settings or PairSettings()
        self.submaps = submaps or SubmapSettings(spacing=config.points.voxel)
        self.seed, self.epoch_length, self.augment = seed, epoch_length, augment

    def __getitem__(self, index: int) -> Pair:
        rng = np.random.default_rng([self.seed, index])
        for _ in range(20):
            pair = self._draw(rng, index)
            if pair is not None:
                return pair
        names = ", ".join(scene.name for scene in self.scenes[:3])
        raise InputError(
            f"scenes {names}: none of 20 draws overlaps by {self.settings.min_overlap}; check the poses, "
            "or lower pairs.min_overlap"
        )

    def _draw(self, rng: np.random.Generator, index: int) -> Pair | None:
        scene = self.scenes[rng.choice(len(self.scenes), p=self.weights)]
        query = int(rng.integers(len(scene)))
        view = self._view(scene, query, rng)
        image, depth = scene.images[query], scene.depths[query].astype(np.float32) / 1000
        camera, world_from_camera = scene.camera, scene.world_from_cameras[query]
        cloud = scene.cloud
        if self.augment:
            if rng.random() < self.settings.novel_view:
                moved_from_camera = self._displacement(rng)
                image, depth = novel_view(image, depth, camera, moved_from_camera)
                world_from_camera = world_from_camera @ invert(moved_from_camera)
            image, depth, camera, world_from_camera = self._warp(image, depth, camera, world_from_camera, rng)
            cloud = cloud.take(rng.random(len(cloud)) >= rng.uniform(0, self.settings.point_dropout))
        cloud = cut_submap(cloud, invert(view), self.submaps)
        if len(cloud) < 500:
            return None
        if len(cloud) > self.settings.max_points:
            cloud = cloud.take(np.sort(rng.permutation(len(cloud))[: self.settings.max_points]))
        if self.augment:
            strength = self.settings.color_jitter
            image = jitter_colors(image, strength, rng)
            colors = None
            if cloud.colors is not None:
                colors = jitter_colors(cloud.colors[None], 0.6 * strength, rng)[0]
            noise = rng.normal(0, self.settings.point_noise, cloud.points.shape).astype(np.float32)
            cloud = replace(cloud, points=cloud.points + noise, colors=colors)
        return make_pair(
            image,
            depth,
            camera,
            cloud,
            invert(world_from_camera) @ view,
            self.config,
            index=index,
            name=f"{scene.name}/{query:06d}_{index:08d}",
            image_key=None if self.augment else f"{scene.name}/{query}",
            min_overlap=self.settings.min_overlap,
        )

    def _view(self, scene: Scene, query: int, rng: np.random.Generator) -> Array:
        """world_from_view of a submap's virtual camera near the query."""
        s = self.settings
        view = scene.world_from_cameras[query]
        if rng.random() < s.other_frame:
            poses = scene.world_from_cameras
            distance = np.linalg.norm(poses[:, :3, 3] - view[:3, 3], axis=1)
            cosine = poses[:, :3, 2] @ view[:3, 2]
            near = np.flatnonzero((distance < 0.8) & (cosine > np.cos(np.radians(35))))
            view = poses[rng.choice(near)]
        tilt = Rotation.from_rotvec(rng.normal(0, np.radians(s.jitter_deg), 3) * [1, 1, 0.5]).as_matrix()
        moved: Array = view @ compose(tilt, rng.normal(0, s.jitter_m, 3))
        return moved

    def _displacement(self, rng: np.random.Generator) -> Array:
        s = self.settings
        turn = Rotation.from_rotvec(np.radians(rng.uniform(-s.novel_view_deg, s.novel_view_deg, 3)))
        return compose(turn.as_matrix(), rng.uniform(-s.novel_view_m, s.novel_view_m, 3))

    def _warp(
        self,
        image: NDArray[np.uint8],
        depth: NDArray[np.float32],
        camera: Camera,
        world_from_camera: Array,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], Camera, Array]:
        """Roll the camera about its axis and zoom: the image of another camera at the same position."""
        roll = np.radians(rng.uniform(-1, 1) * self.settings.roll_deg)
        zoom = float(np.exp(rng.uniform(*np.log(self.settings.zoom))))
        camera_from_rolled = compose(Rotation.from_euler("z", roll).as_matrix(), np.zeros(3))
        zoomed = Camera(camera.width, camera.height, camera.fx * zoom, camera.fy * zoom, camera.cx, camera.cy)
        source_from_target = camera.matrix @ camera_from_rolled[:3, :3] @ np.linalg.inv(zoomed.matrix)
        size = (camera.width, camera.height)
        flags = cv2.WARP_INVERSE_MAP
        image = cv2.warpPerspective(image, source_from_target, size, flags=cv2.INTER_LINEAR | flags)  # type: ignore[assignment]
        depth = cv2.warpPerspective(depth, source_from_target, size, flags=cv2.INTER_NEAREST | flags)  # type: ignore[assignment]
        return image, depth, zoomed, world_from_camera @ camera_from_rolled


def jitter_colors(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random contrast, brightness, gamma and white balance for (H, W, 3) colours, sometimes a blur."""
    if strength == 0:
        return image
    values = image.astype(np.float32) / 255
    gain = np.exp(rng.normal(0, strength, 1) + rng.normal(0, 0.35 * strength, 3))
    gamma = np.exp(rng.normal(0, strength))
    values = np.clip(values, 1e-4, 1) ** gamma * gain + rng.normal(0, 0.3 * strength)
    mean = values.mean((0, 1))
    values = mean + (values - mean) * np.exp(rng.normal(0, 0.6 * strength))
    if image.shape[0] > 1 and rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.6))
    jittered: NDArray[np.uint8] = (np.clip(values, 0, 1) * 255).astype(np.uint8)
    return jittered
