"""Submaps packed in a few large tensors, which are read from a file only when used."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import overload

import torch
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.features import SubmapFeatures

BY_POINT = ("points", "fine")
BY_SUPERPOINT = ("superpoints", "tokens", "nodes", "node_valid", "patches")
HALF = ("fine", "tokens", "nodes")
"""Stored as float16: features of about one, matched to three digits."""
CPU_BUDGET = 128 * 2**20
GPU_BUDGET = 4 * 2**30
"""Bytes of submaps that are cached."""


@dataclass(frozen=True)
class Block:
    """Several packed submaps. Tensors of a file are views of its pages, which are read when used."""

    tensors: dict[str, Tensor]
    """The fields of `SubmapFeatures`, with the rows of all submaps concatenated."""
    num_points: list[int]
    num_superpoints: list[int]
    name: str
    """Its name in error messages."""

    @classmethod
    def of(cls, submap: SubmapFeatures) -> Block:
        """One submap in memory."""
        tensors = {field.name: getattr(submap, field.name) for field in fields(SubmapFeatures)}
        return cls(tensors, [len(submap.points)], [len(submap.superpoints)], "a submap")

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class _Submaps(Sequence[SubmapFeatures]):
    """A sequence of the results of `at` for the indices from 0."""

    @abstractmethod
    def at(self, index: int) -> SubmapFeatures: ...

    @overload
    def __getitem__(self, index: int) -> SubmapFeatures: ...
    @overload
    def __getitem__(self, index: slice) -> list[SubmapFeatures]: ...
    def __getitem__(self, index: int | slice) -> SubmapFeatures | list[SubmapFeatures]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.at(index % len(self))


class PackedSubmaps(_Submaps):
    """The submaps of blocks, in order. Each is made from its block's tensors when it is used."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)
        self._first = [0, *accumulate(len(block.num_points) for block in self.blocks)]
        self._starts = [
            ([0, *accumulate(block.num_points)], [0, *accumulate(block.num_superpoints)])
            for block in self.blocks
        ]

    def __len__(self) -> int:
        return self._first[-1]

    def at(self, index: int) -> SubmapFeatures:
        which = bisect_right(self._first, index) - 1
        block, row = self.blocks[which], index - self._first[which]
        of_points, of_superpoints = self._starts[which]
        rows = {
            **dict.fromkeys(BY_POINT, slice(of_points[row], of_points[row + 1])),
            **dict.fromkeys(BY_SUPERPOINT, slice(of_superpoints[row], of_superpoints[row + 1])),
        }
        parts = {name: block.tensors[name][where] for name, where in rows.items()}
        patches = parts["patches"].long()
        if patches.numel() and not 0 <= int(patches.min()) <= int(patches.max()) <= block.num_points[row]:
            raise InputError(f"{block.name}: damaged (invalid indices in patches); build the map again")
        halves = {name: parts[name].float() for name in HALF}
        return SubmapFeatures(**{**parts, **halves, "patches": patches})

    def valid_nodes(self) -> tuple[Tensor, list[int]]:
        """The valid nodes (S, D) of all submaps, in their stored precision, and the number in each."""
        parts, counts = list[Tensor](), list[int]()
        for block in self.blocks:
            valid = block.tensors["node_valid"]
            parts.append(block.tensors["nodes"][valid])
            counts += [int(part.sum()) for part in valid.split(block.num_superpoints)]
        # a single block, such as that of a file, is not copied again
        return parts[0] if len(parts) == 1 else torch.cat(parts), counts


def pack(submaps: Sequence[SubmapFeatures]) -> PackedSubmaps:
    """Submaps in memory (or already packed) as `PackedSubmaps`."""
    return submaps if isinstance(submaps, PackedSubmaps) else PackedSubmaps([Block.of(s) for s in submaps])


class SubmapCache(_Submaps):
    """Submaps on a device. The last ones used stay there, up to a budget of bytes."""

    def __init__(
        self, submaps: Sequence[SubmapFeatures], device: torch.device | str, budget: int | None = None
    ) -> None:
        self._submaps = submaps
        self._device = torch.device(device)
        self._budget = (
            (CPU_BUDGET if self._device.type == "cpu" else GPU_BUDGET) if budget is None else budget
        )
        self._held: OrderedDict[int, SubmapFeatures] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._submaps)

    def at(self, index: int) -> SubmapFeatures:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        submap = self._submaps[index].to(self._device)
        self._held[index] = submap
        self._bytes += Block.of(submap).num_bytes
        while self._bytes > self._budget and len(self._held) > 1:
            self._bytes -= Block.of(self._held.popitem(last=False)[1]).num_bytes
        return submap
