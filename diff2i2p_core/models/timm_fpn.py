"""Image branches with a timm backbone: a feature pyramid on any timm model, pre-trained or not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diff2i2p_core.errors import InputError, quoted, reason
from diff2i2p_core.models.config import ImageConfig
from diff2i2p_core.models.image_branch import ImageBranch, gray_values
from diff2i2p_core.models.layers import ConvBlock, Head

HUB = "hub"
"""Used instead of a weights file: the weights that timm downloads for the model."""


class TimmFPN(ImageBranch):
    """A timm backbone and a feature pyramid over its maps, from the fine stride to the node stride.

    Convolutional networks give one map per stage. Plain vision transformers give several maps with the same
    stride, the patch size; two convolutions of the image add what is finer than a patch. Batch norms keep
    their statistics, because batches of a few images give none.
    """

    def __init__(self, config: ImageConfig, inputs: int, fine_dim: int) -> None:
        """InputError without timm, or if `config.backbone` is not a timm model that gives maps."""
        super().__init__(config, inputs, fine_dim)
        maps = _used(_available(config, inputs), config)
        self.stride = maps[-1].stride
        self.numbers = [used.number for used in maps]
        self.body = _create(config, inputs, out_indices=self.numbers)
        self._choose_trained()
        self.coarse_dim = 2 * fine_dim
        self.top = ConvBlock(maps[-1].channels, self.coarse_dim, 1)
        self.laterals = nn.ModuleList(ConvBlock(used.channels, fine_dim, 1, activate=False) for used in maps)
        self.details: nn.Module | None = None
        if maps[0].stride == maps[-1].stride > config.fine_stride:  # no pyramid
            wide = 2 * config.fine_stride + 1
            strided = ConvBlock(inputs, fine_dim, wide, config.fine_stride)
            self.details = nn.Sequential(strided, ConvBlock(fine_dim, fine_dim, 3, activate=False))
        self.smooth = Head(fine_dim, fine_dim)
        self.project = nn.Conv2d(fine_dim, fine_dim, 1)

    @staticmethod
    def normalise(colors: Tensor, config: ImageConfig) -> Tensor:
        """Uses the mean and deviation that the backbone was trained with."""
        statistics = _timm().get_pretrained_cfg(config.backbone)
        moments = statistics.mean, statistics.std
        mean, deviation = (colors.new_tensor(values).view(3, 1, 1) for values in moments)
        if config.color == "gray":
            return (gray_values(colors) - mean.mean()) / deviation.mean()
        return (colors - mean) / deviation

    def _choose_trained(self) -> None:
        """Fix the weights that training shall not change. InputError if the backbone has no blocks."""
        count, config = self.config.trained_blocks, self.config
        self.body.requires_grad_(not config.frozen)
        if count is None:
            return
        blocks = getattr(getattr(self.body, "model", None), "blocks", None)
        if not isinstance(blocks, nn.Sequential) or config.frozen:
            why = "it is frozen" if config.frozen else f"{config.backbone} is not a transformer"
            raise InputError(f"image.trained_blocks {count}: has no effect, because {why}; leave it out")
        if count > len(blocks):
            raise InputError(
                f"image.trained_blocks {count}: {config.backbone} has {len(blocks)} blocks that are used; "
                "give fewer"
            )
        self.body.requires_grad_(False)
        for block in list(blocks)[-count:]:
            block.requires_grad_(True)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.body.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> TimmFPN:
        super().train(mode)
        for module in self.body.modules():
            if self.config.frozen or isinstance(module, _BatchNorm):
                module.training = False
        return self

    def forward(self, image: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
        """See `ImageBranch`."""
        grid = self.grid(*image.shape[-2:])
        # Pad to full patches, so that the maps cover the image exactly.
        size = tuple(max(1, round(n / self.stride)) * self.stride for n in grid.padded)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            maps = self.body(_resampled(image, size))
        joined = self.laterals[-1](maps[-1])
        for lateral, finer in zip(reversed(self.laterals[:-1]), reversed(maps[:-1]), strict=True):
            joined = lateral(finer) + _resampled(joined, finer.shape[-2:])
        joined = _resampled(joined, grid.fine)
        if self.details is not None:
            joined = joined + self.details(image)
        fine = self.smooth(joined, self.project, step)
        return fine, _resampled(self.top(maps[-1]), grid.nodes)

    def load_pretrained(self, weights: str) -> None:
        """Load the backbone's weights from a file in a format that timm reads, or from timm's hub.

        Args:
            weights: the file's path, or `hub`.
        """
        source: dict[str, Any] = {"out_indices": self.numbers, "pretrained": True}
        named, fix = f"image_weights {weights}", f"give a file with weights of {self.config.backbone}"
        if weights != HUB:
            if not Path(weights).is_file():
                raise InputError(f"{named}: no such file; {fix}, or {HUB}")
            source["pretrained_cfg_overlay"] = {"file": weights}
        try:
            loaded, again = (_create(self.config, self.inputs, **source).state_dict() for _ in range(2))
        except Exception as error:  # from the hub, or from weights that do not match
            raise InputError(f"{named}: cannot be loaded ({reason(error)}); {fix}") from None
        # timm accepts a file that matches in part. The rest stays random, so it differs between two loads.
        missing = [name for name, tensor in loaded.items() if not torch.equal(tensor, again[name])]
        if missing:
            raise InputError(f"{named}: lacks {len(missing)} tensors, such as '{missing[0]}'; {fix}")
        self.body.load_state_dict(loaded)


class _Map(NamedTuple):
    """One of the feature maps of a backbone."""

    number: int
    """The index of the map in timm."""
    channels: int
    stride: int


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(
            f"image.kind timm needs the package {error.name}; pip install 'diff2i2p_core[timm]'"
        ) from None
    except Exception as error:  # torchvision's compiled part may fail to load
        raise InputError(
            f"timm cannot be imported ({reason(error)}); "
            "install the torchvision that was built with this torch"
        ) from None
    return cast(ModuleType, timm)


def _create(config: ImageConfig, inputs: int, **options: Any) -> nn.Module:
    timm = _timm()
    if timm.get_pretrained_cfg(config.backbone).fixed_input_size:
        options["dynamic_img_size"] = True  # position embeddings are resampled
    model = timm.create_model(config.backbone, features_only=True, in_chans=inputs, **options)
    return cast(nn.Module, model)


def _available(config: ImageConfig, inputs: int) -> list[_Map]:
    """The maps of the backbone, finest first. Found without allocating its weights."""
    if not _timm().is_model(config.backbone):  # a name could also be the address of any repository
        raise InputError(
            f"image.backbone {quoted(config.backbone)}: timm has no such model; see timm.list_models()"
        )
    try:
        with torch.device("meta"):
            body = _create(config, inputs)
            info: Any = body.feature_info
            maps = [_Map(*m) for m in zip(info.out_indices, info.channels(), info.reduction(), strict=True)]
            rows, columns = (n * max(m.stride for m in maps) for n in (2, 3))
            shapes = [tuple(m.shape[1:]) for m in body(torch.zeros(1, inputs, rows, columns))]
    except Exception as error:
        raise InputError(
            f"image.backbone {config.backbone}: gives no maps for images of any size ({reason(error)}); "
            "choose another"
        ) from None
    if shapes != [(m.channels, rows // m.stride, columns // m.stride) for m in maps]:
        raise InputError(
            f"image.backbone {config.backbone}: its maps are not (channels, rows, columns); choose another"
        )
    return maps


def _used(maps: list[_Map], config: ImageConfig) -> list[_Map]:
    """The maps between the fine stride and the node stride; at least one."""
    deepest = max(config.node_stride, maps[0].stride)
    shallow = [m for m in maps if m.stride <= deepest]
    return [m for m in shallow if m.stride >= config.fine_stride] or shallow[-1:]


def _resampled(x: Tensor, size: tuple[int, ...]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
