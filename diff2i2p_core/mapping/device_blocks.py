"""The blocks of a cloud on a GPU: a render takes its points from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.mapping.blocks import BlockCloud
from diff2i2p_core.mapping.looks import Look
from diff2i2p_core.ops.device_cloud import DeviceCloud


@dataclass(frozen=True)
class DeviceBlocks:
    """A `BlockCloud` with its points on a GPU, 15 bytes each. The CPU knows which blocks a view needs."""

    blocks: BlockCloud
    there: DeviceCloud

    def seen(self, view_from_map: ArrayLike, camera: Camera, depths: tuple[float, float]) -> DeviceCloud:
        """As `BlockCloud.seen`."""
        blocks = self.blocks.in_view(np.asarray(view_from_map, np.float64), camera, depths)
        breaks = np.flatnonzero(np.diff(blocks) != 1) + 1  # neighbours are one range of rows
        runs = [run for run in np.split(blocks, breaks) if len(run)]
        starts = self.blocks.starts
        return self.there.rows([(int(starts[run[0]]), int(starts[run[-1] + 1])) for run in runs] or [(0, 0)])


Blocks = BlockCloud | DeviceBlocks


def placed(blocks: BlockCloud, look: Look, device: torch.device) -> Blocks:
    """The blocks where they are rendered in a look for networks on `device`."""
    if device.type == "cpu" or look.render_there is None:
        return blocks
    return DeviceBlocks(blocks, DeviceCloud.of(blocks.cloud, device))
