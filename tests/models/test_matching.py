"""Coarse matching: how many pairs of nodes each setting keeps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.models.config import MatchingConfig, lite_config
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import FusedNodes, SubmapFeatures
from diff2i2p_core.models.inputs import point_tensor
from diff2i2p_core.models.matching import feature_distance, match_nodes
from diff2i2p_core.ops.pyramid import build_pyramid


def kept(**settings: object) -> tuple[Tensor, FusedNodes]:
    """Distances of the pairs that are kept among 30 image and 20 point nodes, best first."""
    generator = torch.Generator().manual_seed(0)
    image, points = (
        torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=1) for count in (30, 20)
    )
    nodes = FusedNodes(image, points)
    valid = torch.ones(30, dtype=torch.bool), torch.ones(20, dtype=torch.bool)
    rows, columns, distances = match_nodes(nodes, *valid, MatchingConfig.model_validate(settings))
    assert torch.equal(distances, distances.sort().values)
    torch.testing.assert_close(distances, feature_distance(image, points)[rows, columns])
    return distances, nodes


def test_all_pairs_within_the_distance_and_at_least_a_number_of_the_best() -> None:
    every = kept(coarse_top_k=30, coarse_distance=2, coarse_pairs=1)[0]
    assert len(every) == 30 * 20
    near = kept(coarse_top_k=30, coarse_distance=0.8, coarse_pairs=1)[0]
    assert torch.equal(near, every[every <= 0.8]) and 0 < len(near) < 100
    more = kept(coarse_top_k=30, coarse_distance=0.8, coarse_pairs=len(near) + 7)[0]
    assert torch.equal(more, every[: len(near) + 7])


def test_pairs_are_among_the_best_of_both_sides() -> None:
    counts = [len(kept(coarse_top_k=k, coarse_distance=2)[0]) for k in (1, 2, 4)]
    assert 0 < counts[0] <= 20 and counts[0] < counts[1] < counts[2] <= 20 * 4


def test_a_limit_keeps_the_best() -> None:
    every = kept(coarse_top_k=30, coarse_distance=2)[0]
    assert torch.equal(kept(coarse_top_k=30, coarse_distance=2, coarse_limit=11)[0], every[:11])


def encoded(**settings: object) -> tuple[Diff2I2P, SubmapFeatures]:
    """A network with these settings of matching, and a cloud of 1500 points."""
    config = lite_config("rgb")
    update = {"fine_similarity": 0.0, "patch_min_points": 1, **settings}
    config = config.model_copy(update={"matching": config.matching.model_copy(update=update)})
    torch.manual_seed(0)
    network = Diff2I2P(config).eval()
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 1], [1, 1, 2], (1500, 3)).astype(np.float32)
    colors = rng.integers(0, 255, (1500, 3), dtype=np.uint8)
    pyramid = build_pyramid(points, config.points.voxel, config.points.neighbor_limits)
    with torch.inference_mode():
        return network, network.encode_cloud(pyramid, point_tensor(PointCloud(points, colors), config))[0]


def test_patches_of_points_have_a_limit_and_a_least_number() -> None:
    _, few = encoded(patch_points=4)
    _, many = encoded(patch_points=64)
    assert few.patches.shape[1] == 4 < many.patches.shape[1] <= 64
    _, strict = encoded(patch_min_points=8)
    assert 0 < int(strict.node_valid.sum()) < int(many.node_valid.sum())


def test_fine_matches_are_similar_enough() -> None:
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    counts = []
    for least in (0.5, 0.55, 0.6):
        network, submap = encoded(fine_similarity=least)
        with torch.inference_mode():
            matches = network.match(network.encode_image(image)[0], submap)
        counts.append(len(matches))
        assert not len(matches) or float(matches.scores.min()) >= 2 * least - 1 - 1e-5
    assert counts[0] > counts[1] > counts[2]
