"""Initial weights as in the released code, where ours are different (docs/method.md, initial weights)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import nn

from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.point_backbone import KPConvBlock

POLE, RING, ELEVATION = 0.65394, 0.66101, 0.47243
"""Of the released kernel points in the unit ball: radius of the two poles, and radius and latitude (radians)
of two rings of six, half a step apart. This is where 14 points that repel each other come to rest."""
ROLL, TILT = 0.3240, 0.6819
"""Radians: the released turn of these points about their poles, then about x. Estimated from the 11 layers of
a network of the released code; the points are right to 0.003 in the mean."""
NOISE = 0.01
"""Standard deviation of the noise of each layer's kernel points, in the unit ball."""


def initialize_as_released(model: Diff2I2P) -> None:
    """Replace the initial weights that are not drawn as in the released code, from torch's generator.

    These are the weights, biases and kernel points of KPConv, and the last layer of the tuning network.
    """
    for module in model.modules():
        if isinstance(module, KPConvBlock):
            _initialize_kpconv(module)
    if model.tuning is not None:
        last = model.tuning.net[-1]
        assert isinstance(last, nn.Linear)
        last.reset_parameters()


@torch.no_grad()
def _initialize_kpconv(block: KPConvBlock) -> None:
    # Kaiming's rule for a convolution takes the tensor's second and third size for the fan.
    _, inputs, outputs = block.weight.shape
    bound = 1 / math.sqrt(inputs * outputs)
    nn.init.uniform_(block.weight, -bound, bound)
    nn.init.uniform_(block.bias, -bound, bound)
    points = torch.from_numpy(released_disposition()).to(block.kernel_points)
    points += NOISE * torch.randn_like(points)
    angle = 2 * math.pi * torch.rand(()).item()
    turn = torch.from_numpy(Rotation.from_euler("z", angle).as_matrix()).to(points)
    block.kernel_points.copy_(block.radius * points @ turn.T)


def released_disposition() -> NDArray[np.float64]:
    """(15, 3) kernel points in the unit ball, before a layer's noise and turn about z, in our order."""
    angles = np.arange(6) * np.pi / 3
    rings = [
        RING * _directions(angles + shift, sign * ELEVATION) for shift, sign in ((0, 1), (np.pi / 6, -1))
    ]
    points = np.concatenate([[[0, 0, 0], [0, 0, POLE], [0, 0, -POLE]], *rings])
    return np.asarray(Rotation.from_euler("zx", [ROLL, TILT]).apply(points))


def _directions(longitudes: NDArray[np.float64], latitude: float) -> NDArray[np.float64]:
    """Unit vectors (N, 3)."""
    flat = np.cos(latitude)
    up = np.full_like(longitudes, np.sin(latitude))
    return np.stack([flat * np.cos(longitudes), flat * np.sin(longitudes), up], axis=1)
