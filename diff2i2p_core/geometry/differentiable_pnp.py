"""PnP as a differentiable layer: the minimiser of the reprojection error, with its exact derivatives.

For correspondences of pixels x_i and points X_i with weights w_i and intrinsics K, the pose is

    y* = argmin_y F(y) = 1/2 sum_i w_i |pi_K(y X_i) - x_i|^2.

The forward pass runs Levenberg-Marquardt to convergence without recording. One Newton step from y*,
y* - H^-1 F_y(y*; x, X, K, w) with H = F_yy held fixed, is then recorded: its value is y*, since F_y = 0
there, and its derivative -H^-1 dF_y/d(x, X, K, w) is that of the implicit function theorem.
Time and memory are linear in the number of correspondences. Float64 inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PnpSettings, ransac_pose
from diff2i2p_core.geometry.reprojection import (
    MIN_DEPTH,
    Problem,
    Terms,
    levenberg_marquardt,
    moved_linear,
    times,
)

MIN_CORRESPONDENCES = 4
MIN_EIGENVALUE_RATIO = 1e-9
"""Of the Hessian in metres. Below it, the pose is not determined (collinear or coincident points)."""
START_SAMPLE = 256


@dataclass(frozen=True)
class PnPSolution:
    """`camera_from_cloud` (B, 4, 4) carries the gradients. Where `valid` (B,) is false, it is a constant (the
    start, or the identity without one) and all its gradients are zero. `inliers` (B, N): those used."""

    camera_from_cloud: Tensor
    valid: Tensor
    inliers: Tensor


def differentiable_pnp(
    pixels: Tensor,
    points: Tensor,
    intrinsics: Tensor,
    weights: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    start: Tensor | None = None,
    inlier_threshold: float | None = 8.0,
) -> PnPSolution:
    """Poses from correspondences: pixels (B, N, 2) as (u, v), points (B, N, 3), intrinsics (B, 3, 3)
    or (3, 3).

    `weights` (B, N) >= 0, default 1. `lengths` (B,) is the number of each sample's correspondences in a
    padded batch. `start` (B, 4, 4) is an initial guess of camera_from_cloud. Without it, a robust PnP on the
    positive weights finds one per sample. Correspondences more than `inlier_threshold` pixels from the
    start's projection are left out; None uses all. Gradients reach pixels, points, intrinsics and weights of
    those used. Samples that do not determine a pose (fewer than 4 inliers, collinear, NaN, not converged) are
    not `valid`.
    """
    dtype = points.dtype
    batch, count = points.shape[:2]
    pixels, points = pixels.double().mT, points.double().mT
    intrinsics = intrinsics.double().expand(batch, 3, 3)
    w = points.new_ones(batch, count) if weights is None else weights.double()

    # Unusable entries are replaced before any arithmetic: NaN * 0 would be NaN in the backward pass.
    usable = pixels.isfinite().all(1) & points.isfinite().all(1) & w.isfinite() & (w > 0)
    if lengths is not None:
        usable &= torch.arange(count, device=points.device) < lengths[:, None]
    sane_camera = intrinsics.isfinite().flatten(1).all(1)
    usable &= sane_camera[:, None]
    eye = torch.eye(3, dtype=points.dtype, device=points.device)
    intrinsics = torch.where(sane_camera[:, None, None], intrinsics, eye)
    pixels = torch.where(usable[:, None], pixels, 0)
    points = torch.where(usable[:, None], points, 0)

    with torch.no_grad():
        if start is None:
            pose, has_start = robust_start(pixels, points, intrinsics, usable, inlier_threshold or 8.0)
        else:
            has_start = start.isfinite().flatten(1).all(1)
            pose = torch.where(
                has_start[:, None, None], start.double(), torch.eye(4, device=start.device).double()
            )
            u, _, vh = torch.linalg.svd(pose[:, :3, :3])  # float32 rotations are not exactly orthonormal
            pose = pose.clone()
            pose[:, :3, :3] = u @ vh
        in_camera = times(pose[:, :3, :3], points) + pose[:, :3, 3:]
        inliers = usable & (in_camera[:, 2] > MIN_DEPTH)
        if inlier_threshold is not None:
            ray = in_camera[:, :2] / torch.where(inliers, in_camera[:, 2], 1.0)[:, None]
            error = times(intrinsics[:, :2, :2], ray) + intrinsics[:, :2, 2:] - pixels
            inliers &= error.norm(dim=1) < inlier_threshold
        valid = has_start & (inliers.sum(1) >= MIN_CORRESPONDENCES)
        inliers &= valid[:, None]

    # Outliers are moved to the inliers' centroid, so their terms (of weight 0) stay finite for any pose.
    fractions = inliers / inliers.sum(1, keepdim=True).clamp(min=1)
    centroid = (fractions[:, None] * points.detach()).sum(2)
    points = torch.where(inliers[:, None], points, centroid[..., None])
    w = torch.where(inliers, w, 0)

    with torch.no_grad():
        problem = Problem(pixels, points, intrinsics, w, centroid)
        solved, converged = levenberg_marquardt(pose, problem, valid)
        solution = torch.where(valid[:, None, None], solved, pose)
        hessian = Terms(solution, problem).hessian(exact=True)
        spread = _spread(centroid, points, inliers)
        metric = hessian / (spread[:, :, None] * spread[:, None, :])
        # Dropped samples get a well-conditioned matrix, so that the factorisation stays finite.
        fallback = torch.eye(6, dtype=hessian.dtype, device=hessian.device)
        finite = metric.isfinite().flatten(1).all(1)
        eigenvalues = torch.linalg.eigvalsh(torch.where(finite[:, None, None], metric, fallback))
        determined = finite & (eigenvalues[:, 0] > MIN_EIGENVALUE_RATIO * eigenvalues[:, -1])
        valid = valid & converged & determined
        hessian = torch.where(valid[:, None, None], hessian, fallback)
        solution = torch.where(valid[:, None, None], solution, pose)
        inliers = inliers & valid[:, None]

    # The terms of an invalid sample may overflow at its pose: replace them by harmless ones.
    points = torch.where(valid[:, None, None], points, points.new_tensor([[0.0], [0.0], [1.0]]))
    chart = torch.where(valid[:, None], centroid, 0.0)
    safe_pose = torch.where(valid[:, None, None], solution, torch.eye(4, dtype=w.dtype, device=w.device))
    w = torch.where(valid[:, None], w, 0)
    gradient = Terms(safe_pose, Problem(pixels, points, intrinsics, w, chart)).gradient()
    step = -torch.linalg.solve(hessian, gradient)
    step = torch.where(valid[:, None], step, 0)
    return PnPSolution(moved_linear(solution, chart, step).to(dtype), valid, inliers)


def robust_start(
    pixels: Tensor, points: Tensor, intrinsics: Tensor, usable: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Robust pose of every sample of pixels (B, 2, N) and points (B, 3, N): camera_from_cloud (B, 4, 4),
    the identity if there is none, and whether there is one (B,). Uses up to `START_SAMPLE` correspondences,
    which is enough for a start."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(points), 1, 1)
    solved = torch.zeros(len(points), dtype=torch.bool)
    settings = PnpSettings(max_error_px=threshold)
    for i, mask in enumerate(usable):
        keep = mask.nonzero()[:, 0]
        keep = keep[:: max(1, -(-len(keep) // START_SAMPLE))]
        uv, xyz, k = (t.cpu().numpy() for t in (pixels[i, :, keep].T, points[i, :, keep].T, intrinsics[i]))
        if len(uv) < MIN_CORRESPONDENCES or not (k[0, 0] > 0 and k[1, 1] > 0):
            continue
        center = xyz.mean(axis=0)
        start = ransac_pose(uv, xyz - center, Camera.from_matrix(k, 1, 1), settings, ranked=False)
        if start is not None:
            start[:3, 3] -= start[:3, :3] @ center
            poses[i] = torch.from_numpy(start)
            solved[i] = True
    return poses.to(points.device), solved.to(points.device)


def _spread(centroid: Tensor, points: Tensor, inliers: Tensor) -> Tensor:
    """(B, 6) metres by which one unit of each local coordinate moves the points: their RMS radius, or 1."""
    arm = (points - centroid[..., None]).square().sum(1) * inliers
    radius = (arm.sum(1) / inliers.sum(1).clamp(min=1)).sqrt().clamp(min=1e-12)[:, None]
    return torch.cat([radius.expand(-1, 3), torch.ones_like(radius).expand(-1, 3)], dim=1)
