"""What describes images and rendered views with local features that can be matched with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from numpy import float32, uint8
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.models.xfeat import Keypoints, XFeat, dense_features, detect, rounded
from diff2i2p_core.ops.render_there import DeviceView, View

State = Mapping[str, Tensor]
"""Weights by name, in half precision."""


class ViewNetworks(Protocol):
    @property
    def device(self) -> torch.device: ...

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        """The best `most` features of an image, grey (H, W) or RGB (H, W, 3)."""

    def describe_render(self, view: View, most: int) -> Keypoints:
        """The best `most` features of a rendered view."""

    def state(self) -> State:
        """The weights that a map must contain, because its features fit no others; often none."""


class PictureNetworks:
    """XFeat for both: renders that look like photos."""

    def __init__(self, network: XFeat, device: str = "cpu") -> None:
        self.network = network.to(device)
        """As given. Features are computed with it in bfloat16 if that is faster."""
        self._fast = rounded(self.network)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        return detect(dense_features(self._fast, image), most)

    def describe_render(self, view: View, most: int) -> Keypoints:
        return detect(dense_features(self._fast, view.image), most)

    def state(self) -> State:
        return {}


class ShapeNetworks:
    """The geometry features: only the depth of renders counts."""

    def __init__(self, networks: GeometryFeatures, device: str = "cpu") -> None:
        self._networks: GeometryFeatures = networks.eval().requires_grad_(False).to(device)
        self._networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._fast = rounded(self._networks)
        """Describes. Measured: as many inliers as in float32, and the same errors of poses."""

    @property
    def device(self) -> torch.device:
        return self._networks.device

    def describe_image(self, image: NDArray[uint8], most: int) -> Keypoints:
        return self._fast.describe_image(image, most)

    def describe_render(self, view: View, most: int) -> Keypoints:
        return self._fast.describe_depth(_depth_of(view), view.camera, most)

    def describe_renders_densely(self, views: Sequence[View]) -> tuple[Tensor, Tensor]:
        """Descriptors (B, h, w, 64) of rendered views of one camera and their reliability (B, h, w), every
        few pixels."""
        return self._fast.describe_depths_densely([_depth_of(view) for view in views], views[0].camera)

    def state(self) -> State:
        return {name: values.half().cpu() for name, values in self._networks.state_dict().items()}


def _depth_of(view: View) -> NDArray[float32]:
    """Of a rendered view, in main memory."""
    return view.depth.cpu().numpy() if isinstance(view, DeviceView) else view.depth
