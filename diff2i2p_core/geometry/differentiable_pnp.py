"""PnP as a differentiable layer: the minimiser of the reprojection error, with its exact derivatives.

For correspondences of pixels x_i and points X_i with weights w_i and intrinsics K, the pose is

    y* = argmin_y F(y) = 1/2 sum_i w_i |pi_K(y X_i) - x_i|^2.

The forward pass runs Levenberg-Marquardt to convergence without recording. One Newton step from y*,
y* - H^-1 F_y(y*; x, X, K, w) with H = F_yy held fixed, is then recorded: its value is y*, since F_y = 0
there, and its derivative -H^-1 dF_y/d(x, X, K, w) is the one the implicit function theorem gives.
Time and memory are linear in the number of correspondences. Float64 inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PnpSettings, ransac_pose

MIN_CORRESPONDENCES = 4
MIN_DEPTH = 1e-3
"""Metres in front of the camera below which a point has no usable projection."""
MIN_EIGENVALUE_RATIO = 1e-9
"""Of the Hessian in metres: below it the pose is not determined (collinear or coincident points)."""
START_SAMPLE = 256
MAX_ITERATIONS = 50
STEP_TOLERANCE = 1e-9


@dataclass(frozen=True)
class PnPSolution:
    """`camera_from_cloud` (B, 4, 4) carries the gradients. Where `valid` (B,) is false it is a constant
    (the start, or the identity without one) and all its gradients are zero. `inliers` (B, N) were used."""

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

    `weights` (B, N) >= 0, default 1. `lengths` (B,) counts each sample's correspondences in a padded batch.
    `start` (B, 4, 4) is a guess of camera_from_cloud; without one a robust PnP on the positive weights finds
    it, per sample. Correspondences further than `inlier_threshold` pixels from the start's projection are
    left out; None keeps all. Gradients reach pixels, points, intrinsics and weights of the kept ones.
    Samples that determine no pose (fewer than 4 inliers, collinear, NaN, not converged) are not `valid`.
    """
    dtype = points.dtype
    batch, count = points.shape[:2]
    pixels, points = (
        pixels.double().mT,
        points.double().mT,
    )  # coordinates first: sums run over contiguous memory
    intrinsics = intrinsics.double().expand(batch, 3, 3)
    w = points.new_ones(batch, count) if weights is None else weights.double()

    # Entries that cannot take part are replaced before any arithmetic: NaN * 0 would be NaN in the backward.
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
            pose, found = robust_start(pixels, points, intrinsics, usable, inlier_threshold or 8.0)
        else:
            found = start.isfinite().flatten(1).all(1)
            pose = torch.where(
                found[:, None, None], start.double(), torch.eye(4, device=start.device).double()
            )
            u, _, vh = torch.linalg.svd(pose[:, :3, :3])  # float32 rotations are not quite orthonormal
            pose = pose.clone()
            pose[:, :3, :3] = u @ vh
        in_camera = _times(pose[:, :3, :3], points) + pose[:, :3, 3:]
        inliers = usable & (in_camera[:, 2] > MIN_DEPTH)
        if inlier_threshold is not None:
            ray = in_camera[:, :2] / torch.where(inliers, in_camera[:, 2], 1.0)[:, None]
            error = _times(intrinsics[:, :2, :2], ray) + intrinsics[:, :2, 2:] - pixels
            inliers &= error.norm(dim=1) < inlier_threshold
        valid = found & (inliers.sum(1) >= MIN_CORRESPONDENCES)
        inliers &= valid[:, None]

    # Outliers join the inliers' centroid so that their (weightless) terms stay finite for any pose.
    share = inliers / inliers.sum(1, keepdim=True).clamp(min=1)
    centroid = (share[:, None] * points.detach()).sum(2)
    points = torch.where(inliers[:, None], points, centroid[..., None])
    w = torch.where(inliers, w, 0)

    with torch.no_grad():
        solved, converged = _levenberg_marquardt(pose, centroid, pixels, points, intrinsics, w, valid)
        solution = torch.where(valid[:, None, None], solved, pose)
        hessian = _Terms(solution, centroid, pixels, points, intrinsics, w).hessian(exact=True)
        spread = _spread(centroid, points, inliers)
        metric = hessian / (spread[:, :, None] * spread[:, None, :])
        # A well-conditioned stand-in keeps the factorisation finite for the samples that are dropped.
        fallback = torch.eye(6, dtype=hessian.dtype, device=hessian.device)
        finite = metric.isfinite().flatten(1).all(1)
        eigenvalues = torch.linalg.eigvalsh(torch.where(finite[:, None, None], metric, fallback))
        determined = finite & (eigenvalues[:, 0] > MIN_EIGENVALUE_RATIO * eigenvalues[:, -1])
        valid = valid & converged & determined
        hessian = torch.where(valid[:, None, None], hessian, fallback)
        solution = torch.where(valid[:, None, None], solution, pose)
        inliers = inliers & valid[:, None]

    # An invalid sample may sit at a pose where its terms overflow: give it harmless ones.
    points = torch.where(valid[:, None, None], points, points.new_tensor([[0.0], [0.0], [1.0]]))
    chart = torch.where(valid[:, None], centroid, 0.0)
    safe_pose = torch.where(valid[:, None, None], solution, torch.eye(4, dtype=w.dtype, device=w.device))
    w = torch.where(valid[:, None], w, 0)
    gradient = _Terms(safe_pose, chart, pixels, points, intrinsics, w).gradient()
    step = -torch.linalg.solve(hessian, gradient)
    step = torch.where(valid[:, None], step, 0)
    return PnPSolution(_moved_linear(solution, chart, step).to(dtype), valid, inliers)


def robust_start(
    pixels: Tensor, points: Tensor, intrinsics: Tensor, usable: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Robust pose of every sample of pixels (B, 2, N) and points (B, 3, N): camera_from_cloud (B, 4, 4),
    identity where none, and found (B,). A subset of `START_SAMPLE` correspondences is enough for a start."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(points), 1, 1)
    found = torch.zeros(len(points), dtype=torch.bool)
    settings = PnpSettings(max_error_px=threshold)
    for i, mask in enumerate(usable):
        keep = mask.nonzero()[:, 0]
        keep = keep[:: max(1, -(-len(keep) // START_SAMPLE))]
        uv, xyz, k = (t.cpu().numpy() for t in (pixels[i, :, keep].T, points[i, :, keep].T, intrinsics[i]))
        if len(uv) < MIN_CORRESPONDENCES or not (k[0, 0] > 0 and k[1, 1] > 0):
            continue
        center = xyz.mean(axis=0)
        start = ransac_pose(uv, xyz - center, Camera.from_matrix(k, 1, 1), settings)
        if start is not None:
            start[:3, 3] -= start[:3, :3] @ center
            poses[i] = torch.from_numpy(start)
            found[i] = True
    return poses.to(points.device), found.to(points.device)


class _Terms:
    """Residuals and derivatives of F at a pose, for the local coordinates (omega, tau):

    q_i = exp(omega) R (X_i - centroid) + R centroid + t + tau. Rotating about the centroid keeps the
    rotation and translation blocks apart, whatever the cloud's frame. Tensors are (B, coordinate, N), and
    sums of products stand where `@` could: small batched products cost more in thread barriers than in work.
    """

    def __init__(
        self,
        pose: Tensor,
        centroid: Tensor,
        pixels: Tensor,
        points: Tensor,
        intrinsics: Tensor,
        weights: Tensor,
    ) -> None:
        center = centroid[..., None]
        self.arm = _times(pose[:, :3, :3], points - center)
        q = self.arm + _times(pose[:, :3, :3], center) + pose[:, :3, 3:]
        self.inverse_z = 1 / q[:, 2:]
        self.m = q[:, :2] * self.inverse_z
        self.a = intrinsics[:, :2, :2]
        self.residual = _times(self.a, self.m) + intrinsics[:, :2, 2:] - pixels
        self.weights = weights[:, None]
        self.in_front = ((q[:, 2] > MIN_DEPTH) | (weights == 0)).all(1)

    def cost(self) -> Tensor:
        """F (B,); infinite where a weighted point is behind the camera."""
        value = 0.5 * (self.weights * self.residual.square()).sum((1, 2))
        return torch.where(self.in_front & value.isfinite(), value, torch.inf)

    def _force(self) -> Tensor:
        """w_i (d pixel / d q)^T r_i (B, 3, N)."""
        e = self.weights * self.inverse_z * _times(self.a.mT, self.residual)
        return torch.cat([e, -(e * self.m).sum(1, keepdim=True)], dim=1)

    def gradient(self) -> Tensor:
        """F_y (B, 6)."""
        force = self._force()
        return torch.cat([torch.linalg.cross(self.arm, force, dim=1).sum(2), force.sum(2)], dim=1)

    def hessian(self, *, exact: bool) -> Tensor:
        """F_yy (B, 6, 6); without `exact` its Gauss-Newton part."""
        x, y, z = self.arm.unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        # The rows of d q / d (omega, tau) = [-[arm]x, I], each (B, 6, N)
        dx = torch.stack([zero, z, -y, one, zero, zero], dim=1)
        dy = torch.stack([-z, zero, x, zero, one, zero], dim=1)
        dz = torch.stack([y, -x, zero, zero, zero, one], dim=1) * self.inverse_z
        px = dx * self.inverse_z - self.m[:, :1] * dz
        py = dy * self.inverse_z - self.m[:, 1:] * dz
        ata = (self.a[:, :, :, None] * self.a[:, :, None]).sum(1)[..., None]
        ax = self.weights * (ata[:, 0, :1] * px + ata[:, 0, 1:] * py)
        ay = self.weights * (ata[:, 1, :1] * px + ata[:, 1, 1:] * py)
        result = _sum_outer(px, ax) + _sum_outer(py, ay)
        if not exact:
            return result
        force = self._force()
        # Curvature of the projection: -(f . D_j) d_k - (f . D_k) d_j with d = D_z / z
        z_camera = 1 / self.inverse_z
        along = force[:, :1] * dx + force[:, 1:2] * dy + force[:, 2:] * z_camera * dz
        bend = _sum_outer(along, dz)
        result = result - bend - bend.mT
        # Curvature of the rotation: f . (e_j x (e_k x arm)), made symmetric
        outer = _sum_outer(force, self.arm)
        trace = outer.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        result[:, :3, :3] += 0.5 * (outer + outer.mT) - trace * torch.eye(
            3, dtype=outer.dtype, device=outer.device
        )
        return result


def _times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """(B, I, J) times (B, J, N)."""
    return (matrix[..., None] * vectors[:, None]).sum(2)


def _sum_outer(a: Tensor, b: Tensor) -> Tensor:
    """sum_n a_in b_jn (B, I, J) of (B, I, N) and (B, J, N)."""
    return torch.stack([(a[:, i : i + 1] * b).sum(2) for i in range(a.shape[1])], dim=1)


def _spread(centroid: Tensor, points: Tensor, inliers: Tensor) -> Tensor:
    """(B, 6) metres that a unit of each local coordinate moves the points: their RMS radius, and 1."""
    arm = (points - centroid[..., None]).square().sum(1) * inliers
    radius = (arm.sum(1) / inliers.sum(1).clamp(min=1)).sqrt().clamp(min=1e-12)[:, None]
    return torch.cat([radius.expand(-1, 3), torch.ones_like(radius).expand(-1, 3)], dim=1)


def _levenberg_marquardt(
    pose: Tensor,
    centroid: Tensor,
    pixels: Tensor,
    points: Tensor,
    intrinsics: Tensor,
    weights: Tensor,
    active: Tensor,
) -> tuple[Tensor, Tensor]:
    """Minimise F from `pose` in every sample that is `active` (B,); returns poses and converged (B,)."""
    damping = pose.new_full((len(pose),), 1e-6)
    terms = _Terms(pose, centroid, pixels, points, intrinsics, weights)
    cost = terms.cost()
    converged = ~active
    identity = torch.eye(6, dtype=pose.dtype, device=pose.device)
    for _ in range(MAX_ITERATIONS):
        gradient = terms.gradient()
        hessian = terms.hessian(exact=False)
        scale = hessian.diagonal(dim1=1, dim2=2)
        damped = hessian + torch.diag_embed(damping[:, None] * scale + 1e-12 * scale.amax(1, keepdim=True))
        usable = active & damped.isfinite().flatten(1).all(1) & gradient.isfinite().all(1)
        gradient = torch.where(usable[:, None], gradient, 0)
        step, failure = torch.linalg.solve_ex(torch.where(usable[:, None, None], damped, identity), -gradient)
        usable &= failure == 0
        moved = _moved(pose, centroid, step)
        new_terms = _Terms(moved, centroid, pixels, points, intrinsics, weights)
        new_cost = new_terms.cost()
        # Near the minimum rounding decides the comparison, hence the slack; a tiny step ends it either way.
        better = usable & (new_cost <= cost * (1 + 1e-12))
        converged |= (usable & (step.abs().amax(1) < STEP_TOLERANCE)) | (~better & (damping > 1e8))
        pose = torch.where(better[:, None, None], moved, pose)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-12, 1e12)
        if bool(converged.all()):
            break
        terms = (
            new_terms if bool(better.all()) else _Terms(pose, centroid, pixels, points, intrinsics, weights)
        )
    return pose, converged & cost.isfinite()


def _moved_linear(pose: Tensor, centroid: Tensor, step: Tensor) -> Tensor:
    """`pose` moved by the infinitesimal local coordinates `step` (B, 6), exact to first order."""
    omega = step[:, :3, None].expand(-1, 3, 3)
    rotation = pose[:, :3, :3] + torch.linalg.cross(omega, pose[:, :3, :3], dim=1)
    return _assembled(pose, rotation, centroid, step[:, 3:])


def _moved(pose: Tensor, centroid: Tensor, step: Tensor) -> Tensor:
    """`pose` moved by the local coordinates `step` (B, 6), by Rodrigues' formula on the columns."""
    angle = step[:, :3].norm(dim=1)[:, None, None]
    omega = step[:, :3, None].expand(-1, 3, 3)
    once = torch.linalg.cross(omega, pose[:, :3, :3], dim=1)
    twice = torch.linalg.cross(omega, once, dim=1)
    half = torch.sinc(angle / (2 * torch.pi))
    rotation = pose[:, :3, :3] + torch.sinc(angle / torch.pi) * once + 0.5 * half**2 * twice
    return _assembled(pose, rotation, centroid, step[:, 3:])


def _assembled(pose: Tensor, rotation: Tensor, centroid: Tensor, tau: Tensor) -> Tensor:
    """The pose with this rotation that takes the centroid to where `pose` takes it, plus `tau`."""
    translation = pose[:, :3, 3:] + tau[..., None] + _times(pose[:, :3, :3] - rotation, centroid[..., None])
    return torch.cat([torch.cat([rotation, translation], dim=2), pose[:, 3:]], dim=1)
