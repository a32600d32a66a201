"""Ground truth of a pair: true pixel-point correspondences and the overlaps of nodes (METHOD 2.7).

Made from the query's depth, outside the network: inference needs none of it. Pixels without depth are
neither positive nor negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.image_backbone import NODE_LEVELS

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """P fine pixels, N points. Distances in metres, pixels of the network's input image."""

    pixel_points: NDArray[np.float32]
    """(P, 3) in the camera frame; z = 0 where depth is unknown."""
    point_pixels: NDArray[np.float32]
    """(N, 2) projections (u, v) of the points; NaN behind the camera."""
    close_pixels: Ints
    """(E,) and `close_points` (E,), `close_distances` (E,): pairs within the positive radius in 3D, and in
    the image."""
    close_points: Ints
    close_distances: NDArray[np.float32]
    overlap: float
    """Part of the pixels with depth that have a point within the radius."""


def positive_radius(config: ModelConfig) -> float:
    """Metres within which a pixel and a point are the same: 1.5 voxels (3.75 cm for the released 2.5 cm)."""
    return 1.5 * config.points.voxel


def positive_pixels(config: ModelConfig) -> float:
    """Pixels of the input image within which they are: 8 at the released 480 rows, as the voxel grows."""
    scale = config.points.voxel / 0.025 * (config.image.height or 480) / 480
    return 8.0 * scale


def build_targets(
    depth: NDArray[np.float32],
    camera: Camera,
    cloud: NDArray[np.float32],
    camera_from_cloud: NDArray[np.float64],
    config: ModelConfig,
) -> Targets:
    """Ground truth of one pair from depth (H, W) in metres registered to the network's input image."""
    pixel_points = fine_pixel_points(depth, camera, config)
    known = np.flatnonzero(pixel_points[:, 2] > 0)
    in_camera = transform_points(camera_from_cloud, cloud).astype(np.float32)
    projected, z = camera.project(in_camera)
    projected[z <= 0.05] = np.nan
    empty = np.zeros(0, np.int64)
    pixels, points, distances = empty, empty, np.zeros(0, np.float32)
    overlap = 0.0
    if len(known):
        near = cKDTree(pixel_points[known]).sparse_distance_matrix(
            cKDTree(in_camera), positive_radius(config), output_type="ndarray"
        )
        pixels, points = known[near["i"]], near["j"].astype(np.int64)
        distances = near["v"].astype(np.float32)
        overlap = len(np.unique(pixels)) / len(known)
        centres, _ = camera.project(pixel_points[pixels])
        kept = np.linalg.norm(centres - projected[points], axis=1) < positive_pixels(config)
        pixels, points, distances = pixels[kept], points[kept], distances[kept]
    return Targets(pixel_points, projected.astype(np.float32), pixels, points, distances, overlap)


def fine_pixel_points(depth: NDArray[np.float32], camera: Camera, config: ModelConfig) -> NDArray[np.float32]:
    """(P, 3) points at the fine pixels' centres in the camera frame (padding too), z = 0 without depth."""
    stride = config.image.fine_stride
    multiple = config.image.node_stride * 2 ** (NODE_LEVELS - 1)
    rows, columns = (-(-size // multiple) * multiple // stride for size in depth.shape)
    sampled = np.zeros((rows, columns), np.float32)
    inner = depth[stride // 2 :: stride, stride // 2 :: stride]
    sampled[: inner.shape[0], : inner.shape[1]] = inner
    v, u = (np.indices(sampled.shape, dtype=np.float32) + 0.5) * stride - 0.5
    x, y = (u - camera.cx) / camera.fx * sampled, (v - camera.cy) / camera.fy * sampled
    return np.stack([x, y, sampled], axis=-1).reshape(-1, 3).astype(np.float32)


def node_overlaps(
    targets: Targets, patches: tuple[torch.Tensor, ...], point_patches: torch.Tensor, num_points: int
) -> tuple[Ints, Ints, NDArray[np.float32], NDArray[np.float32]]:
    """Overlapping pairs of nodes: rows of image nodes and superpoints, overlap seen from each side.

    A pixel of an image node overlaps a superpoint if the nearest of the superpoint's points is close (in 3D
    and in the image); the overlap is the part of the node's pixels with depth for which that holds, and
    likewise for points. Pairs with both above zero are returned.

    Args:
        patches: fine pixels of each image node, level by level, as `image_patches` gives them.
        point_patches: (S, K) points of each superpoint, padded with `num_points`.
    """
    table = point_patches.cpu().numpy()
    superpoint, slot = np.nonzero(table < num_points)
    owner = np.full(num_points, -1, np.int64)
    owner[table[superpoint, slot]] = superpoint
    patch_sizes = (table < num_points).sum(1)
    kept = owner[targets.close_points] >= 0
    pixels, points = targets.close_pixels[kept], targets.close_points[kept]
    owners = owner[points]
    total = len(table)
    known = targets.pixel_points[:, 2] > 0
    all_rows, all_columns, all_image, all_point = [], [], [], []
    offset = 0
    for level in patches:
        nodes = level.cpu().numpy()
        node_of = np.full(len(known), -1, np.int64)
        node_of[nodes.ravel()] = np.repeat(np.arange(len(nodes)), nodes.shape[1])
        known_counts = known[nodes].sum(1)
        inside = node_of[pixels] >= 0
        pair = node_of[pixels[inside]] * total + owners[inside]
        # Each pixel (each point) counts once for a pair of nodes, however many close partners it has there.
        by_pixel, pixel_counts = np.unique(
            np.unique(np.stack([pair, pixels[inside]], axis=1), axis=0)[:, 0], return_counts=True
        )
        _, point_counts = np.unique(
            np.unique(np.stack([pair, points[inside]], axis=1), axis=0)[:, 0], return_counts=True
        )
        rows, columns = by_pixel // total, by_pixel % total
        all_rows.append(rows + offset)
        all_columns.append(columns)
        all_image.append(pixel_counts / known_counts[rows])
        all_point.append(point_counts / patch_sizes[columns])
        offset += len(nodes)
    return (
        np.concatenate(all_rows),
        np.concatenate(all_columns),
        np.concatenate(all_image).astype(np.float32),
        np.concatenate(all_point).astype(np.float32),
    )
