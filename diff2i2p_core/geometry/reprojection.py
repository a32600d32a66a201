"""The reprojection error of poses, its derivatives in local coordinates of the pose, and its minimiser.

For each sample, F(y) = 1/2 sum_i w_i |pi_K(y X_i) - x_i|^2, as in `differentiable_pnp`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_DEPTH = 1e-3
"""Metres. Points nearer to the camera than this have no usable projection."""
MAX_ITERATIONS = 50
STEP_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Problem:
    """Correspondences of B samples. Coordinates come first, so that sums run over contiguous memory."""

    pixels: Tensor
    """(B, 2, N) as (u, v)."""
    points: Tensor
    """(B, 3, N)."""
    intrinsics: Tensor
    """(B, 3, 3)."""
    weights: Tensor
    """(B, N)."""
    centroid: Tensor
    """(B, 3) the point about which a pose is rotated."""


class Terms:
    """Residuals and derivatives of F at a pose, for the local coordinates (omega, tau):

    q_i = exp(omega) R (X_i - centroid) + R centroid + t + tau. Rotating about the centroid keeps the rotation
    and translation blocks apart, whatever the cloud's frame. Tensors are (B, coordinate, N), and sums of
    products are used instead of `@`, because small batched products spend most time in thread barriers.
    """

    def __init__(self, pose: Tensor, problem: Problem) -> None:
        center, intrinsics = problem.centroid[..., None], problem.intrinsics
        self.arm = times(pose[:, :3, :3], problem.points - center)
        q = self.arm + times(pose[:, :3, :3], center) + pose[:, :3, 3:]
        self.inverse_z = 1 / q[:, 2:]
        self.m = q[:, :2] * self.inverse_z
        self.a = intrinsics[:, :2, :2]
        self.residual = times(self.a, self.m) + intrinsics[:, :2, 2:] - problem.pixels
        self.weights = problem.weights[:, None]
        self.in_front = ((q[:, 2] > MIN_DEPTH) | (problem.weights == 0)).all(1)

    def cost(self) -> Tensor:
        """F (B,); infinite if a point of positive weight is behind the camera."""
        value = 0.5 * (self.weights * self.residual.square()).sum((1, 2))
        return torch.where(self.in_front & value.isfinite(), value, torch.inf)

    def _force(self) -> Tensor:
        """w_i (d pixel / d q)^T r_i (B, 3, N)."""
        e = self.weights * self.inverse_z * times(self.a.mT, self.residual)
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
        # Curvature of the rotation: f . (e_j x (e_k x arm)), symmetrised
        outer = _sum_outer(force, self.arm)
        trace = outer.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        result[:, :3, :3] += 0.5 * (outer + outer.mT) - trace * torch.eye(
            3, dtype=outer.dtype, device=outer.device
        )
        return result


def times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """(B, I, J) times (B, J, N)."""
    return (matrix[..., None] * vectors[:, None]).sum(2)


def _sum_outer(a: Tensor, b: Tensor) -> Tensor:
    """sum_n a_in b_jn (B, I, J) of (B, I, N) and (B, J, N)."""
    return torch.stack([(a[:, i : i + 1] * b).sum(2) for i in range(a.shape[1])], dim=1)


def levenberg_marquardt(pose: Tensor, problem: Problem, active: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise F from `pose` in every `active` (B,) sample. Returns poses and whether they converged (B,)."""
    damping = pose.new_full((len(pose),), 1e-6)
    terms = Terms(pose, problem)
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
        moved = _moved(pose, problem.centroid, step)
        new_terms = Terms(moved, problem)
        new_cost = new_terms.cost()
        # Near the minimum, rounding decides the comparison, hence the slack. A tiny step ends it in any case.
        better = usable & (new_cost <= cost * (1 + 1e-12))
        converged |= (usable & (step.abs().amax(1) < STEP_TOLERANCE)) | (~better & (damping > 1e8))
        pose = torch.where(better[:, None, None], moved, pose)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-12, 1e12)
        if bool(converged.all()):
            break
        terms = new_terms if bool(better.all()) else Terms(pose, problem)
    return pose, converged & cost.isfinite()


def moved_linear(pose: Tensor, centroid: Tensor, step: Tensor) -> Tensor:
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
    """The pose with this rotation that maps the centroid to the same point as `pose`, plus `tau`."""
    translation = pose[:, :3, 3:] + tau[..., None] + times(pose[:, :3, :3] - rotation, centroid[..., None])
    return torch.cat([torch.cat([rotation, translation], dim=2), pose[:, 3:]], dim=1)
