"""Compares images with views of the map: by matches of features, and pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.localization.beside import beside
from diff2i2p_core.localization.local_agreement import local_agreement
from diff2i2p_core.localization.pose_search import ImageGrid, Likeness
from diff2i2p_core.localization.query import Query
from diff2i2p_core.mapping.describe import describe_densely, describe_view
from diff2i2p_core.mapping.device_blocks import placed
from diff2i2p_core.mapping.packed_views import ViewFeatures
from diff2i2p_core.mapping.view_map import ViewMap
from diff2i2p_core.models.inputs import resized
from diff2i2p_core.models.view_networks import ShapeNetworks, ViewNetworks
from diff2i2p_core.models.xfeat import Keypoints
from diff2i2p_core.ops.mutual import mutual_nearest
from diff2i2p_core.typing import Array


class ViewMatching:
    """Features of images and of renders of a map's cloud, and how they fit together."""

    def __init__(self, networks: ViewNetworks, view_map: ViewMap) -> None:
        self.networks, self.device = networks, networks.device
        self.settings, self.look = view_map.views.settings, view_map.look
        self.cloud, self.spacing = view_map.cloud, view_map.spacing
        self._placed = placed(view_map.cloud, view_map.look, self.device)

    def features(self, query: Query) -> Keypoints:
        """The features of the query's image, with pixels in it."""
        features = self._features(query)
        query.clock.spent("image")
        return features

    def _features(self, query: Query) -> Keypoints:
        return query.computed(f"features {self.settings.look}", lambda: self._described(query))

    def _described(self, query: Query) -> Keypoints:
        camera = self.settings.resampled(query.camera)
        keypoints = self.networks.describe_image(resized(query.image, camera), self.settings.keypoints)
        return replace(keypoints, pixels=pixels_in_image(keypoints.pixels, camera, query))

    def image_and_view(self, query: Query, pose: Array) -> tuple[Keypoints, ViewFeatures]:
        """The features of the query's image, and of the map from `pose` (map_from_camera) with its camera. On
        two cores, both are computed at the same time."""
        with beside(lambda: self._features(query), self.device):
            view = self._view_from(query, pose)
        return self.features(query), view

    def _view_from(self, query: Query, pose: Array) -> ViewFeatures:
        camera = self.settings.resampled(query.camera)
        seen = describe_view(self._placed, self.spacing, pose, camera, self.settings, self.networks)
        query.clock.spent("render")
        return seen

    def matches(self, query: Query, image: Keypoints, view: ViewFeatures) -> tuple[Array, Array, Array]:
        """Pixels (C, 2) and points (C, 3) of the features that match, and their likeness (C,)."""
        likely = query.settings.views.min_likeness
        theirs = view.descriptors.to(image.descriptors.device).float()  # stored ones are in main memory
        rows, view_rows, likeness = mutual_nearest(image.descriptors, theirs, likely)
        query.clock.spent("match")
        # In one copy, because each waits for a GPU. Indices are exact in float32.
        found = torch.column_stack([image.pixels[rows], likeness, view_rows]).cpu().numpy().astype(np.float64)
        return found[:, :2].copy(), view.points[found[:, 3].astype(np.int64)], found[:, 2].copy()

    def inlier_px(self, query: Query) -> float:
        """Maximum reprojection error of an inlier in the query's image."""
        return query.settings.views.max_error_px * query.camera.fx / self.settings.focal

    def agreement(
        self, query: Query, image: Keypoints, view: ViewFeatures, camera_from_map: Array
    ) -> float | None:
        """The local agreement of the image with a view at a pose; None without dense features."""
        if image.dense is None:
            return None
        camera = self.settings.resampled(query.camera)
        agreement = local_agreement(image.dense, camera, view, camera_from_map)
        query.clock.spent("agreement")
        return agreement

    def likeness(self, query: Query, poses: Sequence[Array]) -> list[Likeness | None]:
        """How alike the image and the map from each of the poses (map_from_camera) are; None where it shows
        nothing. Only in looks whose renders are `compared`."""
        assert isinstance(self.networks, ShapeNetworks), "only these describe renders densely"
        camera, image = self.settings.resampled(query.camera), self._features(query)
        grid = query.computed("grid", lambda: ImageGrid.of(image))
        scene = self._placed, self.spacing, poses, camera, self.settings
        return [grid.likeness(*seen) for seen in describe_densely(*scene, self.networks)]


def pixels_in_image(pixels: Tensor, camera: Camera, query: Query) -> Tensor:
    """Pixels (N, 2) of the image resampled to `camera` in the query's image."""
    scale = query.camera.width / camera.width, query.camera.height / camera.height
    return torch.stack([(x + 0.5) * s - 0.5 for x, s in zip(pixels.unbind(1), scale, strict=True)], dim=1)
