"""The released evaluation protocol: thresholds, pose solver and counting rules (docs/method.md R26)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PnpSettings, PoseEstimate, solve_pnp
from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.pairs.benchmarks import BENCHMARKS, Thresholds
from diff2i2p_core.settings import Section
from diff2i2p_core.typing import Array

Solver = Literal["paper", "poselib"]


class Protocol(Section):
    """The defaults are the released evaluation of 7-Scenes. `corrected` is without its oddities."""

    name: str = "7scenes"
    """The benchmark whose released thresholds these are, or `custom`."""
    acceptance_radius: float = Field(default=0.05, gt=0)
    """Maximum metres between a pixel's true point and its match, for an inlier."""
    inlier_ratio: float = Field(default=0.1, ge=0, le=1)
    """Minimum inlier ratio of a pair for its features to count as matched (FMR)."""
    rmse: float = Field(default=0.1, gt=0)
    """Metres between the cloud at the true and the estimated pose. Below it, a pair is registered (RR)."""
    rre_deg: float | None = Field(default=None, gt=0, le=180)
    rte_m: float | None = Field(default=None, gt=0)
    """If one or both are given, a pair is registered if its rotation error (degrees) and the distance between
    the translations (metres) are below them, instead of by its RMSE."""
    solver: Solver = "paper"
    """`paper`: the released solver, OpenCV's P3P RANSAC with equal weights; `poselib`: ours, which tries high
    scores first (with OpenCV's USAC if poselib is not installed)."""
    iterations: int = Field(default=50_000, gt=0, le=2**31 - 1)
    """RANSAC iterations of the solver `paper`, which counts them in 32 bits. Our solver stops by itself."""
    reprojection_px: float = Field(default=8.0, gt=0)
    depth_only: bool = False
    """Leave matches of pixels without depth out of the inlier ratio. The released code measures them from the
    camera's centre (docs/method.md R20)."""
    tuned_cloud: bool = True
    """Compute the RMSE over the cloud with tuned points, as released (docs/method.md R16)."""
    patch_overlap: float = Field(default=0.0, ge=0, lt=1)
    """Coarse pairs with a larger overlap are correct: 0 in the released evaluation, 0.3 in the released
    training (docs/method.md R27)."""
    num_corr: int | None = Field(default=None, ge=4)
    """Maximum number of matches, best by score. The released option has no effect (docs/method.md R28)."""

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.acceptance_radius, self.inlier_ratio, self.rmse, self.rre_deg, self.rte_m)

    def corrected(self) -> Protocol:
        """The same thresholds without the released oddities."""
        return self.model_copy(update={"depth_only": True, "tuned_cloud": False, "patch_overlap": 0.3})

    def changed(self, **values: Any) -> Protocol:
        """With other values, checked, and named by its thresholds."""
        protocol = Protocol.model_validate(self.model_dump() | values)
        names = (name for name, known in PROTOCOLS.items() if known.thresholds == protocol.thresholds)
        return protocol.model_copy(update={"name": next(names, "custom")})

    def differences(self) -> list[str]:
        """How results differ from those of the released evaluation with the same thresholds, in words."""
        released = Protocol()
        words = {
            "solver": f"solver {self.solver}",
            "iterations": f"{self.iterations:,} iterations",
            "reprojection_px": f"{self.reprojection_px:g} px",
            "depth_only": "only pixels with depth",
            "tuned_cloud": "untuned cloud",
            "patch_overlap": f"patches overlap by more than {self.patch_overlap:g}",
            "num_corr": f"best {self.num_corr} matches",
        }
        return [text for key, text in words.items() if getattr(self, key) != getattr(released, key)]


PROTOCOLS = {
    name: Protocol(name=name, **asdict(benchmark.released)) for name, benchmark in BENCHMARKS.items()
}


def at_all_thresholds(protocol: Protocol) -> list[Protocol]:
    """The protocol, and the same with the released thresholds of the other indoor benchmark. KITTI's stand
    alone."""
    if protocol.name == "kitti":
        return [protocol]
    indoor = [known for known in PROTOCOLS.values() if known.name != "kitti"]
    others = [known for known in indoor if known.thresholds != protocol.thresholds]
    return [protocol, *(protocol.changed(**asdict(known.thresholds)) for known in others)]


def find_protocol(name: str) -> Protocol:
    """The released protocol of a benchmark."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol '{name}': unknown; use one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def thresholds_words(protocol: Protocol) -> str:
    """Name and values of the thresholds."""
    at = protocol.thresholds
    return (
        f"{protocol.name} thresholds (inlier {at.acceptance_radius:g} m, FMR {at.inlier_ratio:g}, "
        f"{registered_words(at)})"
    )


def registered_words(at: Thresholds) -> str:
    """Below what a pair is registered."""
    limits = [f"RRE {at.rre_deg:g} deg"] if at.rre_deg is not None else []
    limits += [f"RTE {at.rte_m:g} m"] if at.rte_m is not None else []
    return " and ".join(limits) or f"RMSE {at.rmse:g} m"


def estimate_pose(
    protocol: Protocol, pixels: ArrayLike, points: ArrayLike, camera: Camera, scores: ArrayLike
) -> Array | None:
    """camera_from_points (4, 4) by the protocol's solver, from pixels (C, 2) (u, v), points (C, 3) and scores
    (C,). None for fewer than 4 matches, or if the solver finds no pose."""
    uv, xyz = np.ascontiguousarray(pixels, np.float64), np.ascontiguousarray(points, np.float64)
    if len(uv) < 4:
        return None
    if protocol.solver == "poselib":
        settings = PnpSettings(max_error_px=protocol.reprojection_px)
        estimate = solve_pnp(uv, xyz, camera, scores, settings)
        return estimate.camera_from_points if isinstance(estimate, PoseEstimate) else None
    try:
        done, rotation, translation, _ = cv2.solvePnPRansac(
            xyz,
            uv,
            camera.matrix,
            np.zeros(4),
            iterationsCount=protocol.iterations,
            reprojectionError=protocol.reprojection_px,
            flags=cv2.SOLVEPNP_P3P,
        )
    except cv2.error:
        return None
    if not done:
        return None
    pose = compose(cv2.Rodrigues(rotation)[0], translation.ravel())
    return pose if np.isfinite(pose).all() else None
