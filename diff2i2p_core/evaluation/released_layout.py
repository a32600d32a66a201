"""Writes a registration as the released test.py does, for its eval.py and for tools made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.evaluation.registration import Registration
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.pairs.metadata import Entry
from diff2i2p_core.pairs.pair import Pair


def write_released(registration: Registration, model: Diff2I2P, pair: Pair, entry: Entry, path: Path) -> None:
    """Write one .npz with the released names, shapes and types (docs/method.md R29)."""
    values = released_arrays(registration, model, pair, entry)
    arrays: dict[str, Any] = {name: _released(value) for name, value in values.items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def released_arrays(
    registration: Registration, model: Diff2I2P, pair: Pair, entry: Entry
) -> dict[str, NDArray[Any]]:
    """The released values by their names. Pixels are (row, column), and clouds have tuned points."""
    r, truth = registration, pair.targets.overlaps
    rows, columns = model.image_backbone.grid(r.camera.height, r.camera.width).nodes
    sizes = [(rows >> level) * (columns >> level) for level in range(3)]
    seen = transform_points(r.camera_from_cloud, r.cloud[r.point_indices])
    cloud = r.tuned_cloud
    arrays = {
        "image_file": entry.image_file,
        "depth_file": entry.depth_file,
        "cloud_file": entry.cloud_file,
        "pcd_points": cloud,
        "pcd_points_f": cloud,
        "pcd_points_c": pair.pyramid.points[-1].numpy(),
        "img_num_nodes": sum(sizes),
        "pcd_num_nodes": len(pair.pyramid.points[-1]),
        "img_node_corr_indices": r.image_nodes,
        "pcd_node_corr_indices": r.point_nodes,
        "img_node_corr_levels": np.searchsorted(np.cumsum(sizes), r.image_nodes, side="right"),
        "img_corr_points": r.pixel_points.astype(np.float32),
        "pcd_corr_points": r.points,
        "img_corr_pixels": r.pixels[:, ::-1],
        "pcd_corr_pixels": _project(seen, r.camera.matrix).astype(np.float32),
        "corr_scores": r.scores,
        "gt_img_node_corr_indices": truth.image_nodes,
        "gt_pcd_node_corr_indices": truth.point_nodes,
        "gt_img_node_corr_overlaps": truth.image_overlaps,
        "gt_pcd_node_corr_overlaps": truth.point_overlaps,
        "gt_node_corr_min_overlaps": np.minimum(truth.image_overlaps, truth.point_overlaps),
        "gt_node_corr_max_overlaps": np.maximum(truth.image_overlaps, truth.point_overlaps),
        "transform": r.camera_from_cloud.astype(np.float32),
        "intrinsics": r.camera.matrix.astype(np.float32),
        "overlap": entry.overlap,
    }
    return {name: np.asarray(value) for name, value in arrays.items()}


def _project(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(row, column) (C, 2) of points (C, 3) in the camera's frame; depth is at least 1e-8 m."""
    uvd = points @ matrix.T
    return np.asarray(uvd[:, 1::-1] / np.maximum(uvd[:, 2:], 1e-8))


def _released(value: NDArray[Any]) -> NDArray[Any]:
    """Arrays of one element are scalars there."""
    return value.reshape(()) if value.size == 1 else value
