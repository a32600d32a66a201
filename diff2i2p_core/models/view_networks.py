"""What describes images and rendered views with local features that can be matched with each other."""

from __future__ import annotations

from typing import Protocol

import torch
from numpy import uint8
from numpy.typing import NDArray

from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.models.xfeat import Keypoints, XFeat, dense_features, detect
from diff2i2p_core.ops.render_view import RenderedView


class ViewNetworks(Protocol):
    @property
    def device(self) -> torch.device: ...

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        """The best `most` features of an image, grey (H, W) or RGB (H, W, 3)."""

    def describe_render(self, view: RenderedView, most: int) -> Keypoints:
        """The best `most` features of a rendered view."""


class PictureNetworks:
    """XFeat for both: renders that look like photos."""

    def __init__(self, network: XFeat, device: str = "cpu") -> None:
        self._network = network.to(device)

    @property
    def device(self) -> torch.device:
        return next(self._network.parameters()).device

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        return detect(dense_features(self._network, image), most)

    def describe_render(self, view: RenderedView, most: int) -> Keypoints:
        return detect(dense_features(self._network, view.image), most)


class ShapeNetworks:
    """The geometry features: only the depth of renders counts."""

    def __init__(self, networks: GeometryFeatures, device: str = "cpu") -> None:
        self._networks = networks.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return next(self._networks.parameters()).device

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        return self._networks.describe_image(image, most)

    def describe_render(self, view: RenderedView, most: int) -> Keypoints:
        return self._networks.describe_depth(view.depth, view.camera, most)
