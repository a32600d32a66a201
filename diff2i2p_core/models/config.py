"""The configuration of a network: everything a checkpoint must record to be rebuilt and used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diff2i2p_core.settings import Section

Mode = Literal["mono", "rgbd"]
PointFeatures = Literal["geometry", "rgb", "intensity"]
Count = Annotated[int, Field(ge=1)]
"""A number of layers, channels, pixels, ..."""


class ImageConfig(Section):
    """The image branch. Strides are in pixels of the network's input image."""

    kind: str = "resnet_fpn"
    """A name in `image_kinds.IMAGE_KINDS`."""
    backbone: str = ""
    """For `timm`: name of the model (tf_efficientnet_lite0, vit_small_patch14_reg4_dinov2.lvd142m, ...)"""
    frozen: bool = False
    """For `timm`: keep the backbone's weights fixed in training, and train only what follows it."""
    trained_blocks: Count | None = None
    """For transformers of `timm`: train only so many of the last blocks of the backbone. None: all."""
    color: Literal["gray", "rgb"] = "gray"
    height: Count | None = None
    """Images are resampled to this height before the network. None keeps their size."""
    channels: tuple[Count, ...] = (128, 256, 512)
    """For `resnet_fpn`: channels of the stages, at strides 2, 4, 8, ..."""
    blocks: tuple[Count, ...] = (2, 2, 2)
    """For `resnet_fpn`: number of residual blocks per stage."""
    dilation: Count = 1
    """For `resnet_fpn`: of the residual blocks' convolutions. (In the released code only 1 runs.)"""
    fine_stride: Count = 1
    """Stride of the fine feature map. For `resnet_fpn`: 1 (full resolution) or the stride of a stage."""
    node_stride: Count = 20
    """Side of the finest image nodes. Each of the two coarser levels doubles it."""
    patch_step: Count = 2
    """Fine matching uses every n-th row and column of fine features."""

    @model_validator(mode="after")
    def _each_stage_has_both(self) -> ImageConfig:
        if self.kind == "resnet_fpn" and len(self.channels) != len(self.blocks):
            raise ValueError(f"{len(self.channels)} channels, but {len(self.blocks)} blocks")
        return self


class PointConfig(Section):
    """The point branch (KPConv FPN). Level i has voxels of `voxel * 2^i`, a radius of 2.5 and an influence of
    2 voxels."""

    voxel: float = Field(default=0.025, gt=0)
    """Metres between the points of the input clouds (level 0)."""
    levels: Count = 4
    width: Count = 64
    """Channels of the first convolution. Level i has `width * 2^(i+1)`."""
    blocks: int = 2
    """Number of residual blocks per level, in addition to the strided one (level 0: one)."""
    neighbor_limits: tuple[Count, ...] = (51, 42, 41, 40)
    normalization: Literal["neighbors", "positive_sum"] = "neighbors"
    """KPConv divides by the number of real neighbours, or as released (docs/method.md R9)."""

    @model_validator(mode="after")
    def _each_level_has_a_limit(self) -> PointConfig:
        if len(self.neighbor_limits) < self.levels:
            raise ValueError(f"{len(self.neighbor_limits)} neighbor_limits, but {self.levels} levels")
        return self


class FusionConfig(Section):
    """Cross-modal transformer: pairs of self- and cross-attention layers shared by both modalities."""

    dim: Count = 256
    heads: Count = 4
    layers: int = 6
    octaves: int = 10

    @model_validator(mode="after")
    def _heads_share_dim(self) -> FusionConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is no multiple of heads {self.heads}")
        return self


class MatchingConfig(Section):
    """Coarse-to-fine matching (2D3D-MATR)."""

    coarse_top_k: int = 3
    coarse_distance: float = 0.75
    """Pairs of nodes closer than this in feature space are kept, but at least `coarse_pairs`."""
    coarse_pairs: int = 96
    coarse_limit: int | None = None
    """Maximum number of pairs, to limit the time of fine matching. None: no limit."""
    fine_top_k: int = 1
    fine_similarity: float = 0.75
    """Threshold on (cosine + 1) / 2 of fine features."""
    patch_points: int = 128
    patch_min_points: int = 6
    """Superpoints with fewer points are ignored."""


class ModelConfig(Section):
    """A complete network. The defaults are the released architecture (docs/method.md R6 to R15)."""

    name: str = "released"
    mode: Mode = "mono"
    coordinates: bool = True
    """In `rgbd` mode: coordinates of pixels and points are inputs of both branches and of tuning. False, as
    in 2D3D-MATR: depth only tells which image nodes are valid, and the unit of tuning's offsets."""
    point_features: PointFeatures = "geometry"
    fine_dim: Count = 128
    tuning: bool = True
    """Deformable Correspondence Tuning of the matched points."""
    confidence: bool = False
    """The scores of matches come from a network that the pose loss trains, not from similarity alone. Not in
    the paper."""
    image: ImageConfig = ImageConfig()
    points: PointConfig = PointConfig()
    fusion: FusionConfig = FusionConfig()
    matching: MatchingConfig = MatchingConfig()

    @property
    def has_coordinates(self) -> bool:
        """Whether depth is an input of the network."""
        return self.mode == "rgbd" and self.coordinates

    @property
    def image_channels(self) -> int:
        return (1 if self.image.color == "gray" else 3) + (3 if self.has_coordinates else 0)

    @property
    def point_channels(self) -> int:
        """Channels per point: coordinates if there are any, else a one; then colour or intensity."""
        geometry = 3 if self.has_coordinates else 1
        return geometry + {"geometry": 0, "rgb": 3, "intensity": 1}[self.point_features]

    @property
    def tuning_points(self) -> int:
        """How many points tuning gets beside features: the matched one and, with depth, the pixel's."""
        return 1 if self.mode == "mono" else 2 * self.coordinates


def lite_config(point_features: PointFeatures = "rgb", mode: Mode = "mono") -> ModelConfig:
    """The same design for two CPU cores: 320x240 colour images, 6 cm clouds, fewer channels."""
    return ModelConfig(
        name=f"lite-{point_features}" + ("" if mode == "mono" else f"-{mode}"),
        mode=mode,
        point_features=point_features,
        fine_dim=64,
        tuning=False,
        image=ImageConfig(
            color="rgb",
            height=240,
            channels=(32, 64, 128, 192),
            blocks=(1, 2, 2, 2),
            fine_stride=4,
            node_stride=16,
            patch_step=1,
        ),
        points=PointConfig(voxel=0.06, levels=3, width=32, neighbor_limits=(20, 24, 24)),
        fusion=FusionConfig(dim=128, heads=4, layers=4, octaves=8),
        matching=MatchingConfig(coarse_limit=256, patch_points=48, patch_min_points=2),
    )
