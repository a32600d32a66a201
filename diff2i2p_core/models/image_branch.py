"""Shared by all kinds of image branches: the output grid, the interface, and the image nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.config import ImageConfig
from diff2i2p_core.models.layers import BasicBlock

NODE_LEVELS = 3
LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in a grey value (Rec. 709, as in the released code)."""
COLOR_SCALE = 4.0
"""Colours in [0, 1] minus their mean have a deviation of about 0.25; this scales it to about 1."""
Size = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True)
class ImageGrid:
    """How the network divides an image: rows and columns after padding to full nodes on all levels."""

    padded: Size
    """Pixels of the padded image."""
    fine: Size
    """Fine pixels."""
    nodes: Size
    """Nodes of the finest level. Each coarser level has half the rows and columns."""


def image_grid(config: ImageConfig, height: int, width: int) -> ImageGrid:
    """The grid of an input image of `height` rows and `width` columns. It is the same for all kinds."""
    multiple = config.node_stride * 2 ** (NODE_LEVELS - 1)
    rows, columns = (-(-size // multiple) * multiple for size in (height, width))
    fine, node = config.fine_stride, config.node_stride
    return ImageGrid((rows, columns), (rows // fine, columns // fine), (rows // node, columns // node))


def pixel_centres(size: Size, stride: int, step: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """(rows * columns, 2) centres (u, v) of fine pixels in pixels of the input image, row by row.

    Args:
        size: rows and columns of the requested fine pixels: every `step`-th of those at `stride`.
    """
    rows, columns = (torch.arange(n, device=device) for n in size)
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([u, v], dim=-1).flatten(0, 1) * (stride * step) + 0.5 * (stride - 1)


def gray_values(colors: Tensor) -> Tensor:
    """(3, H, W) RGB to grey (1, H, W)."""
    return (colors * colors.new_tensor(LUMINANCE).view(3, 1, 1)).sum(0, keepdim=True)


class ImageBranch(nn.Module, ABC):
    """An image network with a fine map for pixels and a coarse map for nodes.

    A new kind needs a subclass in its own file and one line in `image_kinds.IMAGE_KINDS`.
    """

    coarse_dim: int
    """Channels of the coarse map."""
    project: nn.Conv2d
    """The last layer of the fine map."""

    def __init__(self, config: ImageConfig, inputs: int, fine_dim: int) -> None:
        """`inputs`: channels of the image; `fine_dim`: channels of the fine map."""
        super().__init__()
        self.config, self.inputs, self.fine_dim = config, inputs, fine_dim

    @property
    def fine_stride(self) -> int:
        """Pixels of the input image between fine pixels."""
        return self.config.fine_stride

    @property
    def node_stride(self) -> int:
        """Pixels of the input image between the finest nodes."""
        return self.config.node_stride

    def grid(self, height: int, width: int) -> ImageGrid:
        """See `image_grid`."""
        return image_grid(self.config, height, width)

    @staticmethod
    @abstractmethod
    def normalise(colors: Tensor, config: ImageConfig) -> Tensor:
        """(3, H, W) RGB in [0, 1] to the network's input: (1 or 3, H, W), depending on `config.color`.

        Static, because data loaders call it without a network.
        """

    @abstractmethod
    def forward(self, image: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
        """A padded image (B, C, H, W) to the fine and the coarse map of its grid.

        Args:
            image: from `normalise`; in `rgbd` mode with three more channels, the query's points.
            step: return only every n-th row and column of the fine map.

        Returns:
            (B, fine_dim, H / fine_stride / step, W / fine_stride / step) and
            (B, coarse_dim, H / node_stride, W / node_stride).
        """

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The trained ones of a backbone that can start from pre-trained weights. `optimizer.backbone_lr`
        applies to them. None by default."""
        return []

    def load_pretrained(self, weights: str) -> None:
        """Load pre-trained weights before training. InputError if the kind has none."""
        raise InputError(
            f"image branch '{self.config.kind}' has no pre-trained weights, so '{weights}' cannot be used; "
            "leave image_weights out, or choose another model.image.kind"
        )


class NodePyramid(nn.Module):
    """Three levels of image nodes from the finest grid of tokens (docs/method.md R11)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(BasicBlock(dim, dim, stride=2) for _ in range(NODE_LEVELS - 1))
        self.outputs = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(NODE_LEVELS))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, D, h, w) to nodes (B, M, D): all of the finest level row by row, then the next."""
        levels = [tokens]
        for downsample in self.downsamples:
            levels.append(downsample(levels[-1]))
        nodes = [output(level).flatten(2) for output, level in zip(self.outputs, levels, strict=True)]
        return torch.cat(nodes, dim=-1).transpose(1, 2)
