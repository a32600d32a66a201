"""Surface normals of a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.typing import Array

NEIGHBORS = 10
_AT_ONCE = 1 << 16


def surface_normals(tree: cKDTree[None], points: Array) -> tuple[Array, NDArray[np.float64]]:
    """Unit normals (N, 3) of either sign at points (N, 3) of a cloud in a `tree`, and the flatness there.

    They are computed from the `NEIGHBORS` nearest points. Flatness (N,) is the fraction of their variance
    along the normal: 0 on a plane, 1/3 in a cluster.
    """
    normals, flatness = [np.empty((0, 3))], [np.empty(0)]
    for first in range(0, len(points), _AT_ONCE):
        some = points[first : first + _AT_ONCE]
        _, near = tree.query(some, k=min(NEIGHBORS, tree.n))
        offsets = tree.data[near.reshape(len(some), -1)]
        offsets = offsets - offsets.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
        normals.append(vectors[:, :, 0])
        flatness.append(values[:, 0] / np.maximum(values.sum(axis=1), 1e-12))
    return np.concatenate(normals), np.concatenate(flatness)
