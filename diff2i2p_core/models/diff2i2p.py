"""The network, split into parts that can be cached: image, cloud, and their matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from diff2i2p_core.models.confidence import MatchConfidence
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.features import Correspondences, FusedNodes, ImageFeatures, SubmapFeatures
from diff2i2p_core.models.fusion import FusionTransformer
from diff2i2p_core.models.image_branch import NodePyramid, pixel_centres
from diff2i2p_core.models.image_kinds import image_kind
from diff2i2p_core.models.layers import unit_length
from diff2i2p_core.models.matching import match_nodes, match_patches
from diff2i2p_core.models.patches import image_patches, point_patches
from diff2i2p_core.models.point_backbone import PointBackbone
from diff2i2p_core.models.tuning import CorrespondenceTuning
from diff2i2p_core.ops.pyramid import PointPyramid


class Diff2I2P(nn.Module):
    """Image-to-point-cloud registration network (Diff2I2P, ICCV 2025).

    `encode_image` and `encode_cloud` are independent; `match` matches one image with one cloud. None of them
    needs ground truth. `diff2i2p_core.models.inputs` makes the inputs.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.fusion.dim
        branch = image_kind(config.image)
        self.image_backbone = branch(config.image, config.image_channels, config.fine_dim)
        self.point_backbone = PointBackbone(config.points, config.point_channels, config.fine_dim)
        self.fusion = FusionTransformer(
            config.fusion, self.image_backbone.coarse_dim, self.point_backbone.coarse_dim
        )
        self.node_pyramid = NodePyramid(dim)
        self.tuning = CorrespondenceTuning(config.fine_dim, config.tuning_points) if config.tuning else None
        self.confidence = MatchConfidence(config.fine_dim) if config.confidence else None

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _exact(self, x: Tensor) -> Tensor:
        """Convert features to the precision of the parameters, also under autocast."""
        return x.to(self.fusion.output.weight.dtype)

    def _nodes(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, T, D) of a grid to L2-normalised nodes (B, M, D) of all levels."""
        nodes = self.node_pyramid(tokens.transpose(1, 2).unflatten(2, grid))
        return F.normalize(self._exact(nodes), dim=-1)

    def encode_image(
        self, images: Tensor, points: Tensor | None = None, *, to_match: bool = False
    ) -> list[ImageFeatures]:
        """Encode images of any size. They are padded to a multiple of the coarsest node.

        Args:
            images: (B, 1 or 3, H, W) from `inputs.image_tensor`.
            points: (B, 3, H, W) back-projected query depth in the camera frame, (0, 0, 0) where unknown.
                Needed in `rgbd` mode.
            to_match: skip the fine features that `match` does not use. Its result is the same.
        """
        branch, patch_step = self.image_backbone, self.config.image.patch_step
        step = patch_step if to_match else 1
        if self.config.mode == "rgbd":
            if points is None:
                raise ValueError("this model has mode rgbd and needs the query's depth")
            if self.config.coordinates:
                images = torch.cat([images, points], dim=1)
        height, width = images.shape[-2:]
        cells = branch.grid(height, width)
        grid, (rows, columns) = cells.nodes, cells.padded
        fine, top = branch(F.pad(images, (0, columns - width, 0, rows - height)), step)
        tokens = self._exact(self.fusion.image_input(top.flatten(2).transpose(1, 2)))
        nodes = self._nodes(tokens, grid)
        fine_size = (fine.shape[-2], fine.shape[-1])
        fine = unit_length(self._exact(fine), dim=1).flatten(2).transpose(1, 2)

        pixels = pixel_centres(fine_size, branch.fine_stride, step, images.device)
        inside = (pixels[:, 0] < width) & (pixels[:, 1] < height)
        token_rows, token_columns = torch.meshgrid(
            *(torch.arange(n, device=images.device) * branch.node_stride for n in grid), indexing="ij"
        )
        token_valid = ((token_rows < height) & (token_columns < width)).flatten()
        fine_points = extents = None
        if points is not None:
            sampled = self._fine_points(points, cells.fine)
            extents = sampled.amax((2, 3)) - sampled.amin((2, 3))
            fine_points = sampled[..., ::step, ::step].flatten(2).transpose(1, 2)

        features = []
        for b in range(len(images)):
            cloud = None if fine_points is None else fine_points[b]
            known = inside if cloud is None else inside & (cloud[:, 2] > 0)
            patches = image_patches(grid, fine_size, patch_step // step, known.device)
            node_valid = torch.cat([known[level].any(dim=1) for level in patches])
            features.append(
                ImageFeatures(
                    fine=fine[b],
                    fine_size=fine_size,
                    fine_valid=inside,
                    pixels=pixels,
                    tokens=tokens[b],
                    grid=grid,
                    token_valid=token_valid,
                    nodes=nodes[b],
                    node_valid=node_valid,
                    points=cloud,
                    extent=None if extents is None else extents[b],
                    patch_step=patch_step // step,
                )
            )
        return features

    def _fine_points(self, points: Tensor, fine_size: tuple[int, int]) -> Tensor:
        """(B, 3, H, W) to (B, 3, h, w): the point nearest to each fine pixel's centre, zero on padding."""
        stride = self.image_backbone.fine_stride
        sampled = points[..., stride // 2 :: stride, stride // 2 :: stride]
        missing = (0, fine_size[1] - sampled.shape[-1], 0, fine_size[0] - sampled.shape[-2])
        return F.pad(sampled, missing)

    def encode_cloud(self, pyramid: PointPyramid, features: Tensor) -> list[SubmapFeatures]:
        """Encode packed clouds.

        Args:
            pyramid: levels and neighbours of the packed clouds.
            features: (N_0, C) input features from `inputs.point_tensor`.
        """
        fine, coarse = self.point_backbone(pyramid, features)
        tokens = self._exact(self.fusion.point_input(coarse))
        matching = self.config.matching
        fine_parts = F.normalize(self._exact(fine), dim=-1).split(pyramid.lengths[0])
        point_parts = pyramid.points[0].split(pyramid.lengths[0])
        superpoint_parts = pyramid.points[-1].split(pyramid.lengths[-1])
        token_parts = tokens.split(pyramid.lengths[-1])
        submaps = []
        for points, cloud, superpoints, part in zip(
            point_parts, fine_parts, superpoint_parts, token_parts, strict=True
        ):
            patches, valid = point_patches(
                points, superpoints, matching.patch_points, matching.patch_min_points
            )
            submaps.append(
                SubmapFeatures(
                    points=points,
                    fine=cloud,
                    superpoints=superpoints,
                    tokens=part,
                    nodes=F.normalize(part, dim=-1),
                    node_valid=valid,
                    patches=patches,
                )
            )
        return submaps

    def fuse(self, image: ImageFeatures, submap: SubmapFeatures) -> FusedNodes:
        """The nodes of both modalities after the fusion transformer."""
        return self.fuse_many(image, [submap])[0]

    def fuse_many(self, image: ImageFeatures, submaps: Sequence[SubmapFeatures]) -> list[FusedNodes]:
        """`fuse` with each submap, in one batch."""
        rows, columns = (torch.linspace(0, 1, n, device=image.tokens.device) for n in image.grid)
        pixels = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
        mask = None if bool(image.token_valid.all()) else image.token_valid.unsqueeze(0)
        counts = [len(submap.superpoints) for submap in submaps]
        centered = [submap.superpoints - submap.superpoints.mean(0) for submap in submaps]
        tokens = pad_sequence([submap.tokens for submap in submaps], batch_first=True)
        ranks = torch.arange(max(counts), device=tokens.device)
        point_mask = ranks < torch.tensor(counts, device=tokens.device).unsqueeze(1)
        image_tokens, point_tokens = self.fusion(
            image.tokens.unsqueeze(0),
            pixels,
            tokens,
            pad_sequence(centered, batch_first=True),
            mask,
            point_mask if min(counts) < max(counts) else None,
        )
        nodes = self._nodes(image_tokens, image.grid)
        points = F.normalize(self._exact(point_tokens), dim=-1)
        return [FusedNodes(nodes[b], points[b, :count]) for b, count in enumerate(counts)]

    def match(
        self, image: ImageFeatures, submap: SubmapFeatures, nodes: FusedNodes | None = None
    ) -> Correspondences:
        """Correspondences of one image and one submap. Give `nodes` if `fuse` has already run.

        In training, a point is matched only with its best pixel, whatever `fine_top_k` (docs/method.md R14).
        """
        if nodes is None:
            nodes = self.fuse(image, submap)
        settings = self.config.matching
        if self.training:
            settings = settings.model_copy(update={"fine_top_k": 1})
        with torch.no_grad():
            image_nodes, point_nodes, _ = match_nodes(nodes, image.node_valid, submap.node_valid, settings)
            rows, columns = match_patches(image, submap, image_nodes, point_nodes, settings)
        return self.correspondences(image, submap, rows, columns, image_nodes, point_nodes)

    def match_many(self, image: ImageFeatures, submaps: Sequence[SubmapFeatures]) -> list[Correspondences]:
        """`match` with each submap. The transformer runs on all in one batch."""
        nodes = self.fuse_many(image, submaps)
        return [self.match(image, submap, fused) for submap, fused in zip(submaps, nodes, strict=True)]

    def correspondences(
        self,
        image: ImageFeatures,
        submap: SubmapFeatures,
        pixel_indices: Tensor,
        point_indices: Tensor,
        image_nodes: Tensor,
        point_nodes: Tensor,
    ) -> Correspondences:
        """The given matches with scores and, if the model has tuning, tuned points. Differentiable."""
        image_fine = image.fine.index_select(0, pixel_indices)
        point_fine = submap.fine.index_select(0, point_indices)
        points = submap.points[point_indices]
        offsets = None
        if self.tuning is not None:
            pixel_points = None if image.points is None else image.points[pixel_indices]
            offsets = self.tuning(image_fine, point_fine, points, pixel_points)
            points = points + offsets * self.offset_scale(image)
        similarity = (image_fine * point_fine).sum(1)
        return Correspondences(
            pixels=image.pixels[pixel_indices],
            points=points,
            scores=similarity if self.confidence is None else self.confidence(image_fine, point_fine),
            pixel_indices=pixel_indices,
            point_indices=point_indices,
            image_nodes=image_nodes,
            point_nodes=point_nodes,
            offsets=offsets,
        )

    def offset_scale(self, image: ImageFeatures) -> Tensor:
        """Metres (3,) of an offset of 1: the extent of the back-projected image or, in mono, of a patch."""
        if image.extent is None:
            points = self.config.points
            return image.fine.new_full((3,), points.voxel * 2 ** (points.levels - 1))
        return image.extent

    def forward(
        self, images: Tensor, pyramid: PointPyramid, features: Tensor, points: Tensor | None = None
    ) -> list[Correspondences]:
        """Match image b with cloud b of the pack. Arguments as in `encode_image` and `encode_cloud`."""
        pairs = zip(self.encode_image(images, points), self.encode_cloud(pyramid, features), strict=True)
        return [self.match(image, submap) for image, submap in pairs]
