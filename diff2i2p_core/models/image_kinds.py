"""The kinds of image branches by name, for `image.kind`."""

from __future__ import annotations

from diff2i2p_core.models.config import ImageConfig
from diff2i2p_core.models.image_branch import ImageBranch
from diff2i2p_core.models.resnet_fpn import ResNetFPN
from diff2i2p_core.models.timm_fpn import TimmFPN
from diff2i2p_core.settings import look_up

IMAGE_KINDS: dict[str, type[ImageBranch]] = {
    "resnet_fpn": ResNetFPN,
    "timm": TimmFPN,
}


def image_kind(config: ImageConfig) -> type[ImageBranch]:
    """The class of the configured kind. InputError if there is none with that name."""
    return look_up(IMAGE_KINDS, config.kind, "image.kind")
