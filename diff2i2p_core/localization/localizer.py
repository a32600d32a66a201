"""The localizer: one image and a map to a pose, or to a reason why there is none."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.depth import rectify_depth
from diff2i2p_core.geometry.pnp import NoPose, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import is_rigid, transform_points
from diff2i2p_core.io.clouds import usable
from diff2i2p_core.localization.alignment import MAX_DEPTH, Alignment, PhotometricTarget
from diff2i2p_core.localization.decision import Align, Hypothesis, decide
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.retrieval import SubmapIndex, near_prior
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.build import map_from_views, map_of_one_cloud, model_for_map
from diff2i2p_core.mapping.map_file import PointMap, load_info, load_map
from diff2i2p_core.mapping.packed import SubmapCache
from diff2i2p_core.mapping.viewpoints import sample_viewpoints
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import ImageFeatures
from diff2i2p_core.models.inputs import depth_tensor, image_tensor, input_camera
from diff2i2p_core.typing import Array
from diff2i2p_core.weights.checkpoint import installed_weights, load_model, resolve_weights, weights_id


class _Clock:
    """Sums up what each kind of work takes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.ms = dict.fromkeys(("image", "match", "pose", "align"), 0.0)
        self._last = time.perf_counter()

    def spent(self, work: str) -> None:
        """The time since the last call was for `work`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.ms[work] += 1000 * (now - self._last)
        self._last = now


class Localizer:
    """Finds the camera's pose in a map. Deterministic; holds no state between images."""

    def __init__(
        self, model: Diff2I2P, point_map: PointMap, settings: LocalizerSettings | None = None
    ) -> None:
        self.model = model
        self.map = point_map
        self.needs_depth = model.config.mode == "rgbd"
        self.settings = settings or LocalizerSettings()
        self._submaps = SubmapCache(point_map.submaps, model.device)
        self._colored = None if point_map.cloud.colors is None else BlockCloud.of(point_map.cloud)
        self._index = SubmapIndex(point_map.submaps, model.device)

    @classmethod
    def open(
        cls,
        map_path: Path | str,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """From a map file. Without `weights`, the installed ones that the map was made with."""
        info, _ = load_info(map_path)
        if weights is None:
            installed = (resolve_weights(name) for name in installed_weights())
            path = next((p for p in installed if weights_id(p) == info.weights_id), None) or resolve_weights()
        else:
            path = resolve_weights(weights)
        info.check_weights(str(weights or path.stem), weights_id(path), str(map_path))
        return cls(load_model(path, device), load_map(map_path), settings)

    @classmethod
    def from_cloud(
        cls,
        cloud: PointCloud,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        up: str = "z",
        views: Array | None = None,
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """Build the map of a cloud in memory.

        Submaps are seen from `views` (V, 4, 4), camera poses in the map, else from sampled viewpoints in the
        free space of a map whose `up` axis is one of x, y, z, -x, -y, -z.
        """
        cloud = usable(cloud, "the map cloud")
        model, info = model_for_map(weights, "the map cloud", device, colored=cloud.colors is not None)
        chosen = sample_viewpoints(cloud.points, up=up) if views is None else views
        return cls(model, map_from_views(cloud, chosen, model, info), settings)

    @classmethod
    def for_single_cloud(
        cls,
        cloud: PointCloud,
        weights: str | Path | None = None,
        *,
        device: str = "cpu",
        name: str = "the cloud",
        settings: LocalizerSettings | None = None,
    ) -> Localizer:
        """Image-to-point-cloud registration as in the papers: the whole cloud is the one submap."""
        model, info = model_for_map(weights, name, device, colored=cloud.colors is not None)
        return cls(model, map_of_one_cloud(cloud, model, info), settings)

    @torch.inference_mode()
    def localize(
        self,
        image: NDArray[np.uint8],
        camera: Camera,
        *,
        prior: Array | None = None,
        depth: NDArray[np.float32] | None = None,
    ) -> Localization:
        """The pose of the camera that took `image` (H, W, 3) RGB.

        `prior` is a map_from_camera that restricts the search to submaps near it. `depth` (H, W) in metres,
        registered to the image pixel by pixel, is needed by weights of the `rgbd` mode and ignored by others.
        Both are rectified here if the camera has distortion.
        """
        if prior is not None and not is_rigid(prior):
            raise InputError("prior: not a finite rigid transform; give x,y,z,qx,qy,qz,qw")
        clock = _Clock(self.model.device)
        features, rectified, pinhole = self._encode(image, camera, depth)
        clock.spent("image")
        align = self._align(rectified, pinhole) if self.settings.align else None
        clock.spent("align")
        near = self._near(prior)
        asked = near or self._candidates(features)
        hypotheses: list[Hypothesis] = []

        def ask(submaps: list[int]) -> None:
            found = self._match(features, submaps, pinhole)
            clock.spent("match")
            for submap, matches in zip(submaps, found, strict=True):
                estimate = self._solve(*matches, pinhole)
                hypotheses.append(Hypothesis(submap, *matches[:2], estimate))
            clock.spent("pose")

        def answer() -> Localization:
            known = prior if near else None
            found = decide(hypotheses, pinhole, self.settings, clock.ms, prior=known, align=align)
            clock.spent("align")
            return found

        # Without a prior at least two places are compared: a single one cannot be ambiguous.
        first = 1 if near else 2
        for together in (asked[:first], *([submap] for submap in asked[first : self.settings.candidates])):
            ask(together)
            if any(map(self._is_plain, hypotheses)):
                break
        result = answer()
        if align is not None:  # a right pose would be confirmed, so more places may be tried
            for submap in asked[len(hypotheses) :]:
                if result.localized:
                    break
                ask([submap])
                result = answer()
        return result

    def warm_up(self) -> None:
        """Localize a made-up image: the first one takes longer, and should not be a robot's."""
        noise = np.random.default_rng(0)
        image = noise.integers(0, 256, (480, 640, 3), np.uint8)
        depth = noise.uniform(1, 3, (480, 640)).astype(np.float32)
        self.localize(image, Camera(640, 480, 550, 550, 320, 240), depth=depth)

    def _encode(
        self, image: NDArray[np.uint8], camera: Camera, depth: NDArray[np.float32] | None
    ) -> tuple[ImageFeatures, NDArray[np.uint8], Camera]:
        """Features of the rectified image, that image, and its camera."""
        config = self.model.config
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f"image: {image.dtype} of shape {image.shape}; give (H, W, 3) uint8 RGB")
        pinhole = camera.undistorted()
        rectified = camera.rectify(image)
        tensor = image_tensor(rectified, pinhole, config).to(self.model.device)
        points = None
        if config.mode == "rgbd":
            if depth is None:
                raise InputError(
                    f"weights '{config.name}' need the query's depth; give a depth image, or mono weights"
                )
            rectified_depth = rectify_depth(depth, camera)
            points = depth_tensor(rectified_depth, pinhole, config).to(self.model.device)
        precision = getattr(torch, self.settings.precision)
        with torch.autocast(tensor.device.type, precision, enabled=precision != torch.float32):
            return self.model.encode_image(tensor, points, to_match=True)[0], rectified, pinhole

    def _near(self, prior: Array | None) -> list[int]:
        """The submaps nearest to a prior, nearest first; none without a prior, or far from the map."""
        if prior is None:
            return []
        limits = self.settings.prior_distance, self.settings.prior_angle_deg
        return near_prior(self.map.views, prior, *limits)[: self._most]

    def _candidates(self, features: ImageFeatures) -> list[int]:
        """The submaps that look most like the image, best first."""
        scores = self._index.scores(features)
        return scores.argsort(descending=True, stable=True)[: self._most].tolist()

    @property
    def _most(self) -> int:
        """Submaps that are asked, at most."""
        return max(self.settings.candidates, self.settings.colored_candidates if self._colored else 0)

    def _match(
        self, features: ImageFeatures, submaps: list[int], camera: Camera
    ) -> list[tuple[Array, Array, Array]]:
        """For each submap pixels (C, 2) in the given image, points (C, 3) in the map, scores (C,)."""
        network = input_camera(camera, self.model.config)
        scale = np.array([camera.width / network.width, camera.height / network.height])
        matches = []
        found_in = self.model.match_many(features, [self._submaps[submap] for submap in submaps])
        for submap, found in zip(submaps, found_in, strict=True):
            pixels = (found.pixels.cpu().numpy().astype(np.float64) + 0.5) * scale - 0.5
            points = transform_points(self.map.views[submap], found.points.cpu().numpy())
            matches.append((pixels, points, found.scores.cpu().numpy().astype(np.float64)))
        return matches

    def _solve(self, pixels: Array, points: Array, scores: Array, camera: Camera) -> PoseEstimate | NoPose:
        settings = replace(self.settings.pnp, max_error_px=self.settings.inlier_px(camera))
        return solve_pnp(pixels, points, camera, scores, settings)

    def _align(self, image: NDArray[np.uint8], camera: Camera) -> Align | None:
        """Aligns poses to a rectified image, each once; None for a map without colours."""
        if self._colored is None:
            return None
        target, spacing = PhotometricTarget(image, camera), self.map.spacing
        cloud = self._colored

        @lru_cache
        def aligned(start: bytes) -> Alignment | None:
            pose = np.frombuffer(start).reshape(4, 4)
            return target.align(pose, cloud.around(pose[:3, 3], MAX_DEPTH), spacing)

        def align(start: Array) -> Alignment | None:
            return aligned(np.ascontiguousarray(start, np.float64).tobytes())

        return align

    def _is_plain(self, hypothesis: Hypothesis) -> bool:
        """Whether a pose is supported so well that no other submap need be asked."""
        plain = self.settings.plain_inliers, self.settings.plain_inlier_ratio
        support = hypothesis.support
        return support >= plain[0] and support >= plain[1] * len(hypothesis.pixels)
