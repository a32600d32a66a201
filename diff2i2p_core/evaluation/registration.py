"""Registration of image-to-cloud pairs, measured as in the papers (docs/method.md R26)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from diff2i2p_core.evaluation.protocol import Protocol, estimate_pose
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points, translation_error
from diff2i2p_core.pairs.benchmarks import Thresholds
from diff2i2p_core.typing import Array

if TYPE_CHECKING:
    from diff2i2p_core.models.diff2i2p import Diff2I2P
    from diff2i2p_core.pairs.pair import Pair

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Registration:
    """The network's result for one pair, and the ground truth. C matches; lengths in metres."""

    name: str
    """"scene/imageid_cloudid"."""
    camera: Camera
    """The camera of the network's input image, without distortion."""
    camera_from_cloud: Array
    """The ground truth."""
    overlap: float
    """Fraction of the pixels with depth that the cloud covers."""
    voxel: float
    """The spacing of the cloud."""
    cloud: Floats
    """(N, 3) the network's input; NaN where only the tuned position is known."""
    pixels: Floats
    """(C, 2), (u, v)."""
    points: Floats
    """(C, 3) in the cloud frame, after tuning."""
    point_indices: Ints
    """(C,) rows of `cloud`; -1 where unknown."""
    pixel_points: Floats
    """(C, 3) the pixels' true points in the camera frame; (0, 0, 0) without depth."""
    scores: Floats
    """(C,) higher is better."""
    image_nodes: Ints
    """(Q,) matched coarse pairs: rows of image nodes, and in `point_nodes` (Q,) of superpoints."""
    point_nodes: Ints
    true_image_nodes: Ints
    """(G,) overlapping coarse pairs, with `true_point_nodes` (G,)."""
    true_point_nodes: Ints
    true_overlaps: Floats
    """(G,) the smaller of both sides' overlaps."""
    jpeg: NDArray[np.uint8] | None
    """(K,) the input image as a JPEG file, for pictures."""
    seconds: float | None = None
    """How long the network took, without loading the pair. None where nobody measured it."""
    peak_mib: float | None = None
    """Peak memory in MiB: of the GPU for this pair, or of the process so far on a CPU."""

    @property
    def scene(self) -> str:
        return self.name.split("/")[0]

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) RGB."""
        if self.jpeg is None:
            return None
        bgr: Any = cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR)
        return np.asarray(bgr[..., ::-1], np.uint8)

    @property
    def plain_cloud(self) -> Floats:
        """(M, 3) the input cloud, as far as it is known."""
        return self.cloud[np.isfinite(self.cloud).all(1)]

    @property
    def tuned_cloud(self) -> Floats:
        """(N, 3) the cloud with tuned positions of matched points. The last match of a point wins."""
        cloud: Floats = self.cloud.copy()
        known = (self.point_indices >= 0) & np.isfinite(self.points).all(1)
        cloud[self.point_indices[known]] = self.points[known]
        return cloud

    def distances(self) -> Array:
        """(C,) from each matched point to its pixel's true point."""
        return np.asarray(
            np.linalg.norm(transform_points(self.camera_from_cloud, self.points) - self.pixel_points, axis=1)
        )


def register(model: Diff2I2P, pair: Pair) -> Registration:
    """Run the network on one pair."""
    # Imported here, because evaluating registrations does not need it and starts twice as fast without.
    import torch

    from diff2i2p_core.evaluation.resources import measured
    from diff2i2p_core.pairs.pair import collate

    batch = collate([pair]).to(model.device)
    with torch.no_grad(), measured(model.device) as used:
        image = model.encode_image(batch.images, batch.image_points)[0]
        submap = model.encode_cloud(batch.pyramid, batch.features)[0]
        match = model.match(image, submap).to("cpu")
    truth = pair.targets.overlaps
    rows = match.pixel_indices.numpy()
    bgr = np.ascontiguousarray(pair.rgb.permute(1, 2, 0).numpy()[..., ::-1])
    return Registration(
        name=pair.name,
        camera=pair.camera,
        camera_from_cloud=np.asarray(pair.camera_from_cloud, np.float64),
        overlap=pair.targets.overlap,
        voxel=model.config.points.voxel,
        cloud=pair.pyramid.points[0].cpu().numpy(),
        pixels=match.pixels.float().numpy(),
        points=match.points.float().numpy(),
        point_indices=match.point_indices.numpy(),
        pixel_points=pair.targets.pixel_points[rows],
        scores=match.scores.float().numpy(),
        image_nodes=match.image_nodes.numpy(),
        point_nodes=match.point_nodes.numpy(),
        true_image_nodes=truth.image_nodes,
        true_point_nodes=truth.point_nodes,
        true_overlaps=np.minimum(truth.image_overlaps, truth.point_overlaps),
        jpeg=np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]).ravel(),
        seconds=used.seconds,
        peak_mib=used.peak_mib,
    )


@dataclass(frozen=True)
class PairMetrics:
    """Metrics of one pair under a protocol. Errors are infinite if no pose was found."""

    name: str
    correspondences: int
    patch_inlier_ratio: float
    """PIR: fraction of the matched coarse pairs, each counted once, that overlap."""
    inlier_ratio: float
    """IR."""
    covered_ratio: float
    """OR: fraction of the matched pixels with any matched point within the acceptance radius."""
    matched: bool
    """Whether the pair counts for FMR."""
    camera_from_cloud: Array | None
    """The estimated pose."""
    rmse_m: float
    registered: bool
    """Whether the pair counts for RR."""
    rotation_deg: float
    """RRE."""
    translation_m: float
    """RTE: distance between the translations of camera_from_cloud."""
    position_m: float
    """Distance between the true and the estimated position of the camera."""
    network_s: float | None = None
    """As in `Registration`, with `peak_mib`."""
    peak_mib: float | None = None

    @property
    def scene(self) -> str:
        return self.name.split("/")[0]


def pair_metrics(registration: Registration, protocol: Protocol) -> PairMetrics:
    """Estimate the pose and compare matches and pose with the truth."""
    return pair_metrics_at(registration, [protocol])[0]


def pair_metrics_at(registration: Registration, protocols: Sequence[Protocol]) -> list[PairMetrics]:
    """`pair_metrics` under protocols that differ only in their thresholds: one pose is estimated for all."""
    r, protocol = registration, protocols[0]
    best = np.argsort(-r.scores, kind="stable")
    best = best[np.isfinite(r.points[best]).all(1)][: protocol.num_corr]
    pixel_points = r.pixel_points[best]
    counted = pixel_points[:, 2] > 0 if protocol.depth_only else np.ones(len(best), bool)
    distances, nearest = r.distances()[best][counted], np.empty(0)
    if counted.any():
        tree = cKDTree(transform_points(r.camera_from_cloud, r.points[best]))
        nearest = tree.query(pixel_points[counted])[0]
    # The solver's RANSAC depends on the order. Use the order of the file, as in the released code.
    best.sort()
    estimate = estimate_pose(protocol, r.pixels[best], r.points[best], r.camera, r.scores[best])
    rmse = rotation = translation = position = np.inf
    if estimate is not None:
        cloud = r.tuned_cloud if protocol.tuned_cloud else r.plain_cloud
        moved = transform_points(estimate, cloud) - transform_points(r.camera_from_cloud, cloud)
        rmse = float(np.sqrt((moved**2).sum(1).mean()))
        # From the trace, as published; the true rotation may be rounded to float32.
        cosine = (np.trace(estimate[:3, :3].T @ r.camera_from_cloud[:3, :3]) - 1) / 2
        rotation = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        translation = translation_error(estimate, r.camera_from_cloud)
        position = translation_error(invert(estimate), invert(r.camera_from_cloud))
    patch_ratio = _patch_inlier_ratio(r, protocol.patch_overlap)
    return [
        PairMetrics(
            name=r.name,
            correspondences=len(best),
            patch_inlier_ratio=patch_ratio,
            inlier_ratio=(ratio := _fraction(distances < at.acceptance_radius)),
            covered_ratio=_fraction(nearest < at.acceptance_radius),
            matched=ratio >= at.inlier_ratio,
            camera_from_cloud=estimate,
            rmse_m=rmse,
            registered=_is_registered(at, rmse, rotation, translation),
            rotation_deg=rotation,
            translation_m=translation,
            position_m=position,
            network_s=r.seconds,
            peak_mib=r.peak_mib,
        )
        for at in (protocol.thresholds for protocol in protocols)
    ]


def _is_registered(at: Thresholds, rmse: float, rotation: float, translation: float) -> bool:
    if at.rre_deg is None and at.rte_m is None:
        return rmse < at.rmse
    return (at.rre_deg is None or rotation < at.rre_deg) and (at.rte_m is None or translation < at.rte_m)


def _patch_inlier_ratio(r: Registration, overlap: float) -> float:
    right = r.true_overlaps > overlap
    truth = set(zip(r.true_image_nodes[right].tolist(), r.true_point_nodes[right].tolist(), strict=True))
    matched = set(zip(r.image_nodes.tolist(), r.point_nodes.tolist(), strict=True))
    return len(matched & truth) / max(len(matched), 1)


def _fraction(flags: NDArray[Any]) -> float:
    return float(flags.mean()) if len(flags) else 0.0
