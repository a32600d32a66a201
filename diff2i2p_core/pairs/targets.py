"""Ground truth of a pair: true pixel-point correspondences and overlaps of nodes (docs/method.md R3, R5).

Computed from the query's depth, outside the network; inference does not need it. Pixels without depth are
neither positive nor negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.image_branch import image_grid, pixel_centres
from diff2i2p_core.models.patches import image_patches, point_patches
from diff2i2p_core.ops.pyramid import PointPyramid
from diff2i2p_core.pairs.metadata import SAME_VOXELS
from diff2i2p_core.pairs.released import slanted
from diff2i2p_core.typing import Array

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Matching = Literal["mutual_nearest", "radius", "released"]


@dataclass(frozen=True)
class NodeOverlaps:
    """Overlapping pairs: rows of image nodes and superpoints, and the overlap seen from each side."""

    image_nodes: Ints
    point_nodes: Ints
    image_overlaps: Floats
    point_overlaps: Floats


@dataclass(frozen=True)
class Targets:
    """For P fine pixels and N points. Distances in metres, pixels of the network's input image."""

    pixel_points: Floats
    """(P, 3) in the camera frame; z = 0 where depth is unknown."""
    point_pixels: Floats
    """(N, 2) projections (u, v) of the points; NaN behind the camera."""
    pixel_indices: Ints
    """(C,) and `point_indices` (C,): true correspondences, rows of fine pixels and of points."""
    point_indices: Ints
    overlaps: NodeOverlaps
    overlap: float
    """Fraction of the pixels with depth that have a point within the radius."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(P,) pixels with depth."""
        return np.asarray(self.pixel_points[:, 2] > 0)


def positive_radius(config: ModelConfig) -> float:
    """Metres within which a pixel and a point are the same: 1.5 voxels (3.75 cm for the released 2.5 cm)."""
    return SAME_VOXELS * config.points.voxel


def positive_pixels(config: ModelConfig) -> float:
    """The same in pixels of the input image: 8 for the released 480 rows, scaled with the voxel size."""
    scale = config.points.voxel / 0.025 * (config.image.height or 480) / 480
    return 8.0 * scale


def build_targets(
    depth: NDArray[np.float32],
    camera: Camera,
    pyramid: PointPyramid,
    camera_from_cloud: NDArray[np.float64],
    config: ModelConfig,
    matching: Matching = "mutual_nearest",
) -> Targets:
    """Ground truth of one pair, from depth (H, W) in metres registered to the input image, and a cloud."""
    grid = image_grid(config.image, *depth.shape)
    pixel_points = fine_pixel_points(depth, camera, config)
    in_camera = transform_points(camera_from_cloud, pyramid.points[0].numpy()).astype(np.float32)
    point_pixels, z = camera.project(in_camera)
    point_pixels[z <= 0.05] = np.nan
    centres = pixel_centres(grid.fine, config.image.fine_stride).numpy()
    radius, radius_px = positive_radius(config), positive_pixels(config)

    def same_place(pixels: Ints, points: Ints, projected: Array = point_pixels) -> NDArray[np.bool_]:
        return np.asarray(((centres[pixels] - projected[points]) ** 2).sum(1) < radius_px**2)

    known = pixel_points[:, 2] > 0
    rows = np.flatnonzero(known)
    seen, projected = pixel_points[rows], point_pixels
    if matching == "released":
        seen, projected = slanted(seen, centres[rows], camera), np.trunc(point_pixels)
    selected, points = MATCHINGS[matching](seen, in_camera, radius)
    pixels = rows[selected]
    true = same_place(pixels, points, projected)

    levels = [level.numpy() for level in image_patches(grid.nodes, grid.fine, config.image.patch_step)]
    sampled = np.sort(levels[0], axis=None)
    sampled = sampled[known[sampled]]
    close_pixels, close_points = close_pairs(pixel_points[sampled], in_camera, radius)
    close_pixels = sampled[close_pixels]
    met = np.zeros(len(known), np.bool_)
    met[close_pixels] = True
    patches = config.matching
    members, valid = point_patches(
        pyramid.points[0], pyramid.points[-1], patches.patch_points, patches.patch_min_points
    )
    return Targets(
        pixel_points,
        point_pixels.astype(np.float32),
        pixels[true],
        points[true],
        node_overlaps(
            close_pixels,
            close_points,
            same_place(close_pixels, close_points),
            levels,
            known,
            np.where(valid.numpy()[:, None], members.numpy(), len(in_camera)),
            len(in_camera),
        ),
        float(met.sum() / max(len(sampled), 1)),
    )


def fine_pixel_points(depth: NDArray[np.float32], camera: Camera, config: ModelConfig) -> Floats:
    """(P, 3) points at the centres of fine pixels (also padding) in the camera frame; z = 0 without depth."""
    stride = config.image.fine_stride
    fine_size = image_grid(config.image, *depth.shape).fine
    sampled = np.zeros(fine_size, np.float32)
    inner = depth[stride // 2 :: stride, stride // 2 :: stride]
    sampled[: inner.shape[0], : inner.shape[1]] = inner
    z = sampled.ravel()
    u, v = pixel_centres(fine_size, stride).numpy().T
    x, y = (u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def mutual_nearest(a: Floats, b: Floats, radius: float) -> tuple[Ints, Ints]:
    """Rows of (N, 3) and (M, 3) that are mutually nearest and closer than `radius`."""
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # The image has many points in order. A plain tree is built faster, and there are few queries.
    tree = cKDTree(a, compact_nodes=False, balanced_tree=False)
    distance, nearest = tree.query(b, distance_upper_bound=radius)
    columns = np.flatnonzero(np.isfinite(distance))
    rows = nearest[columns]
    _, back = cKDTree(b).query(a[rows])
    return rows[back == columns], columns[back == columns]


def close_pairs(a: Floats, b: Floats, radius: float) -> tuple[Ints, Ints]:
    """Rows of (N, 3) and (M, 3) of all pairs within `radius`, nearest first."""
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tree = cKDTree(a, compact_nodes=False, balanced_tree=False)
    near = tree.sparse_distance_matrix(cKDTree(b), radius, output_type="ndarray")
    near = near[np.argsort(near["v"])]
    return near["i"].astype(np.int64), near["j"].astype(np.int64)


MATCHINGS: dict[Matching, Callable[[Floats, Floats, float], tuple[Ints, Ints]]] = {
    "mutual_nearest": mutual_nearest,
    "radius": close_pairs,
    "released": mutual_nearest,
}
"""How true correspondences are selected among pixels and points that are close in 3D."""


def node_overlaps(
    pixels: Ints,
    points: Ints,
    same_place: NDArray[np.bool_],
    levels: list[Ints],
    known: NDArray[np.bool_],
    members: Ints,
    num_points: int,
) -> NodeOverlaps:
    """Pairs of nodes that overlap from both sides (docs/method.md R5).

    A pixel overlaps a superpoint if the nearest of the superpoint's points is close in 3D and in the image. A
    node's overlap is the fraction of its pixels with depth that do. The same holds for points and image
    nodes.

    Args:
        pixels, points: (E,) all pairs that are close in 3D, nearest first, for pixels with depth.
        same_place: (E,) whether the pair is also close in the image.
        levels: fine pixels (M, K) of each image node, level by level, finest first. Each node consists of
            complete nodes of the level before.
        known: (P,) pixels with depth.
        members: (S, K) points of each superpoint, padded with `num_points`.
    """
    superpoint, slot = np.nonzero(members < num_points)
    owner = np.full(num_points, -1, np.int64)
    owner[members[superpoint, slot]] = superpoint
    total, sizes = len(members), np.bincount(superpoint, minlength=len(members))
    owned = owner[points] >= 0
    pixels, points, same_place = pixels[owned], points[owned], same_place[owned]

    near = _first_of_each(pixels * total + owner[points])
    near = near[same_place[near]]
    hit_pixels, hit_owners = pixels[near], owner[points[near]]
    parts = []
    offset = 0
    for nodes in levels:
        node_of = np.zeros(len(known), np.int64)
        node_of[nodes.ravel()] = np.repeat(np.arange(len(nodes)), nodes.shape[1])
        # A point's nearest pixel in a node is the nearest of those in the node's parts, so each level
        # continues with the result of the finer one.
        near = _first_of_each(points * len(nodes) + node_of[pixels])
        pixels, points, same_place = pixels[near], points[near], same_place[near]
        size = len(nodes) * total
        by_pixels = np.bincount(node_of[hit_pixels] * total + hit_owners, minlength=size)
        by_points = np.bincount(
            node_of[pixels[same_place]] * total + owner[points[same_place]], minlength=size
        )
        both = np.flatnonzero((by_pixels > 0) & (by_points > 0))
        rows, columns = both // total, both % total
        counts = known[nodes].sum(1)[rows]
        parts.append((rows + offset, columns, by_pixels[both] / counts, by_points[both] / sizes[columns]))
        offset += len(nodes)
    rows, columns, image, point = (np.concatenate(part) for part in zip(*parts, strict=True))
    return NodeOverlaps(rows, columns, image.astype(np.float32), point.astype(np.float32))


def _first_of_each(keys: Ints) -> Ints:
    """Indices of the first of each key, in order."""
    count = max(len(keys), 1)
    # With its index in the low digits, each number is unique. This sorts several times faster than np.unique.
    key, index = np.divmod(np.sort(keys * count + np.arange(len(keys))), count)
    first = np.ones(len(keys), np.bool_)
    first[1:] = key[1:] != key[:-1]
    return np.sort(index[first])
