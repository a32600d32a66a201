from __future__ import annotations

import torch

from diff2i2p_core.mapping.packed import PackedSubmaps, SubmapCache, pack
from diff2i2p_core.models.features import SubmapFeatures


def submap(points: int, superpoints: int, patch: int = 4) -> SubmapFeatures:
    generator = torch.Generator().manual_seed(points)
    return SubmapFeatures(
        points=torch.randn(points, 3, generator=generator),
        fine=torch.randn(points, 6, generator=generator),
        superpoints=torch.randn(superpoints, 3, generator=generator),
        tokens=torch.randn(superpoints, 5, generator=generator),
        nodes=torch.randn(superpoints, 5, generator=generator),
        node_valid=torch.rand(superpoints, generator=generator) > 0.5,
        patches=torch.randint(0, points + 1, (superpoints, patch), generator=generator),
    )


SUBMAPS = [submap(30, 4), submap(20, 2, patch=3), submap(50, 7)]


def test_packed_submaps_are_a_sequence_of_the_submaps() -> None:
    packed = pack(SUBMAPS)
    assert isinstance(packed, PackedSubmaps) and pack(packed) is packed and len(packed) == 3
    joined = PackedSubmaps(packed.blocks + packed.blocks[:1])
    for got, wanted in zip(
        [*joined, joined[-2], *joined[1:2]], [*SUBMAPS, SUBMAPS[0], SUBMAPS[2], SUBMAPS[1]], strict=True
    ):
        for name, tensor in vars(wanted).items():
            assert torch.equal(getattr(got, name), tensor)
    for several in (packed, PackedSubmaps(packed.blocks[:1])):
        nodes, counts = several.valid_nodes()
        for part, wanted in zip(nodes.split(counts), SUBMAPS, strict=False):
            assert torch.equal(part, wanted.nodes[wanted.node_valid])
        assert len(counts) == len(several)


def test_the_cache_keeps_what_was_asked_for_last() -> None:
    packed = pack(SUBMAPS)
    size = packed.blocks[0].num_bytes
    cache = SubmapCache(packed, "cpu", budget=3 * size)
    first, second = cache[0], cache[1]
    assert cache[1] is second and cache[0] is first
    assert cache[2] is cache[-1]  # no room for all three: the second goes
    assert cache[0] is first
    assert cache[1] is not second and torch.equal(cache[1].fine, second.fine)
    assert len(cache) == 3 and len(list(cache)) == 3
    tiny = SubmapCache(packed, "cpu", budget=1)
    assert tiny[1] is tiny[1]
