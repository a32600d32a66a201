"""PnP as in the released training (BPnP; docs/method.md R21): OpenCV's pose, gradients weighted by depth.

The pose is y = (axis-angle, translation). Its derivative is that of the root of

    f(y) = sum_i w_i (d pi_i / d y)^T r_i,    r_i = S_i (x_i - pi_i),

with pi_i the projection and S_i the depth of point i. Without S_i, f would be the gradient of the
reprojection error, which OpenCV minimises.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diff2i2p_core.geometry.differentiable_pnp import PnPSolution

MIN_CORRESPONDENCES = 4
REPROJECTION_ERROR_PX = 1.0
CONFIDENCE = 0.9999


def with_released_gradients(
    poses: Tensor, pixels: Tensor, points: Tensor, intrinsics: Tensor, weights: Tensor
) -> PnPSolution:
    """Given poses (B, 6) of camera_from_points with the released derivatives for pixels (B, N, 2), points
    (B, N, 3), intrinsics (B, 3, 3) and weights (B, N).

    Correspondences of weight 0 are left out. A pose that is NaN or not determined is the identity and not
    `valid`, as in `differentiable_pnp`.
    """
    solved: list[Tensor] = []
    valid = torch.zeros(len(poses), dtype=torch.bool, device=poses.device)
    constant = points.nan_to_num().sum().double() * 0  # keeps poses that are not valid part of the graph
    for i, pose in enumerate(poses):
        used = weights[i] > 0
        arrays = (pixels[i, used], points[i, used], intrinsics[i], weights[i, used])
        moved = _with_released_gradient(pose, *(array.double() for array in arrays))
        valid[i] = moved is not None
        solved.append(pose.new_zeros(6) + constant if moved is None else moved)
    camera_from_points = pose_matrix(torch.stack(solved)).to(points.dtype)
    return PnPSolution(camera_from_points, valid, (weights > 0) & valid[:, None])


def released_start(pixels: Tensor, points: Tensor, intrinsics: Tensor, lengths: Tensor) -> Tensor:
    """Poses (B, 6) of camera_from_points from pixels (B, N, 2), points (B, N, 3), intrinsics (B, 3, 3).

    RANSAC at 1 px, then OpenCV's refinement on all `lengths` (B,) correspondences, in their order. NaN where
    RANSAC finds none; the released code then goes on from uninitialised memory.
    """
    poses = np.full((len(points), 6), np.nan)
    for i, length in enumerate(lengths.tolist()):
        arrays = (pixels[i, :length], points[i, :length], intrinsics[i])
        uv, xyz, matrix = (a.detach().cpu().numpy().astype(np.float32) for a in arrays)
        if length >= MIN_CORRESPONDENCES and np.isfinite(uv).all() and np.isfinite(xyz).all():
            poses[i] = _opencv_pose(uv, xyz, matrix)
    return torch.from_numpy(poses).to(points.device)


def _opencv_pose(
    uv: NDArray[np.float32], xyz: NDArray[np.float32], matrix: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(6,), NaN if there is none."""
    none = np.full(6, np.nan)
    iterative = cv2.SOLVEPNP_ITERATIVE
    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            xyz,
            uv,
            matrix,
            None,
            flags=iterative,
            confidence=CONFIDENCE,
            reprojectionError=REPROJECTION_ERROR_PX,
        )
        if not found:
            return none
        _, turn, shift = cv2.solvePnP(
            xyz, uv, matrix, None, rvec=turn, tvec=shift, useExtrinsicGuess=True, flags=iterative
        )
    except cv2.error:  # degenerate points
        return none
    return np.concatenate([turn, shift]).astype(np.float64)[:, 0]


def pose_matrix(pose: Tensor) -> Tensor:
    """(..., 6) to (..., 4, 4), differentiable; NaN stays NaN."""
    x, y, z, *translation = pose.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    upper = torch.cat([torch.matrix_exp(skew), torch.stack(translation, dim=-1)[..., None]], dim=-1)
    last = torch.tensor([0.0, 0, 0, 1], dtype=pose.dtype, device=pose.device)
    return torch.cat([upper, last.expand(*upper.shape[:-2], 1, 4)], dim=-2)


def pose_vector(camera_from_points: Tensor) -> Tensor:
    """(B, 4, 4) to (B, 6)."""
    matrices = camera_from_points.detach().cpu().numpy()
    turns = [cv2.Rodrigues(matrix[:3, :3])[0][:, 0] for matrix in matrices]
    vectors = np.concatenate([np.stack(turns), matrices[:, :3, 3]], axis=1)
    return torch.from_numpy(vectors).to(camera_from_points)


def _with_released_gradient(
    pose: Tensor, pixels: Tensor, points: Tensor, intrinsics: Tensor, weights: Tensor
) -> Tensor | None:
    """A pose (6,) with derivatives for pixels (N, 2), points (N, 3), intrinsics (3, 3) and weights (N,), all
    float64. None if they are not finite."""
    if len(pixels) < MIN_CORRESPONDENCES or not bool(pose.isfinite().all()):
        return None
    with torch.enable_grad():
        leaf = pose.detach().requires_grad_()
        matrix = pose_matrix(leaf)
        projected = (points @ matrix[:3, :3].T + matrix[:3, 3]) @ intrinsics.T
        depth = projected[:, 2:]
        residual = weights[:, None] * (pixels * depth - projected[:, :2])
        (root,) = torch.autograd.grad(projected[:, :2] / depth, leaf, residual, create_graph=True)
        rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in root]
    inverse, failure = torch.linalg.inv_ex(torch.stack(rows))
    if bool(failure) or not bool(inverse.isfinite().all()):
        return None
    # The step is zero, and its derivative that of the implicit function.
    step: Tensor = inverse @ (root - root.detach())
    return pose.detach() - step
