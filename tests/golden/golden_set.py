"""The golden set: the released network with drawn weights, a synthetic room, and the output of every stage.

The inputs are stored (room.npz), since rendering is not the same to the bit on every machine. The weights are
drawn, each tensor from its name alone, from integers that every version of NumPy gives.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from network_stages import Rows, Stages, TrainingStep, correspondences, training_step
from torch import Tensor

from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.pnp import PoseEstimate, solve_pnp
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.losses.pose import estimate_poses
from diff2i2p_core.losses.settings import PoseSettings
from diff2i2p_core.models.diff2i2p import Diff2I2P
from diff2i2p_core.models.features import FusedNodes
from diff2i2p_core.models.released import released_config
from diff2i2p_core.pairs.pair import Pair, make_pair

FOLDER = Path(__file__).parent
CONFIGS = FOLDER.parents[1] / "training/configs"
RELEASED, RELEASED_V2 = CONFIGS / "7scenes-released.yaml", CONFIGS / "rgbd_scenes_v2-released.yaml"
ROOM, NUMBERS, NUMBERS_V2 = (FOLDER / f"{name}.npz" for name in ("room", "numbers", "rgbd_scenes_v2"))

BRANCH_GAIN = 0.3
"""Of a fusion layer's two residual branches: at 1 a random transformer makes all nodes alike."""
TUNING_GAIN = 0.02
"""Of the tuning network's last layer: it then moves points by millimetres, as a trained one does."""
COMMON_GAIN = 1.5
"""Of a vector added to the fine features of both branches, without which no pixel is like any point."""
NODE_GAIN = 1.3
"""Of a vector added to the nodes of both sides for RGB-D Scenes V2: distances are then near its limit."""
DRAWN = ("drawn_pixels", "drawn_points")
MATCHED = ("image_nodes", "point_nodes", "pixel_indices", "point_indices")
CONFIG = released_config()


def _drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Integers in [-2^23, 2^23), the same for a name and shape whatever else is drawn."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    bits = np.random.Philox(key=key).random_raw(math.prod(shape))
    drawn: np.ndarray = (bits >> np.uint64(40)).astype(np.int64).reshape(shape) - 2**23
    return drawn


def drawn_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter of the network, scaled like an initialisation: uniform weights that keep the variance,
    norms near 1, biases near 0.

    The weights of each output sum to 0: otherwise the positive mean of a ReLU would drown the signal.
    """
    numbers, scale = _drawn(name, shape), 2.0**-23
    if "norm." in name:
        values = 0.1 * scale * numbers + (1.0 if name.endswith("weight") else 0.0)
    elif len(shape) == 1:
        values = 0.1 * scale * numbers
        if name.endswith("_backbone.project.bias"):
            values += COMMON_GAIN * scale * _drawn("common fine feature", shape)
    else:
        inputs = (0, 1) if name.startswith("point_backbone.") and len(shape) == 3 else range(1, len(shape))
        count = math.prod(shape[axis] for axis in inputs)
        numbers = numbers - numbers.sum(tuple(inputs), keepdims=True) // count
        values = scale * math.sqrt(3 / count) * numbers
    if name.startswith("fusion.layers.") and (".output." in name or ".squeeze." in name):
        values *= BRANCH_GAIN
    if name.startswith("tuning.net.2."):
        values *= TUNING_GAIN
    return torch.from_numpy(values.astype(np.float32))


def drawn_model() -> Diff2I2P:
    """The released network, 31,109,507 parameters, with drawn weights; KPConv's kernel points are its own."""
    model = Diff2I2P(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(drawn_tensor(name, tuple(parameter.shape)))
    return model.eval()


@dataclass(frozen=True)
class Golden:
    """A pair of the room, and the true correspondences that the fine loss and the pose take."""

    pair: Pair
    drawn: Rows


def room_pair(inputs: Mapping[str, np.ndarray]) -> Pair:
    """The pair, made of the stored inputs as training and evaluation make theirs."""
    height, width = inputs["depth_mm"].shape
    pair = make_pair(
        inputs["image"],
        inputs["depth_mm"].astype(np.float32) / np.float32(1000),
        Camera.from_matrix(inputs["intrinsics"], width, height),
        PointCloud(inputs["cloud"]),
        inputs["camera_from_cloud"],
        CONFIG,
        index=0,
        name="room/0_0",
    )
    assert pair is not None
    return pair


def load_room() -> Golden:
    """What room.npz holds."""
    with np.load(ROOM) as file:
        stored = dict(file)
    rows = (torch.from_numpy(stored[name].astype(np.int64)) for name in DRAWN)
    return Golden(room_pair(stored), (next(rows), next(rows)))


def stage_numbers(pair: Pair, stages: Stages) -> dict[str, np.ndarray]:
    """Some rows of every stage's output, and the mean of all, which a change of any row moves."""
    image, submap, nodes, matches = stages.image, stages.submap, stages.nodes, stages.matches
    outputs = {
        **{f"pyramid.{i}": (level, 4) for i, level in enumerate(pair.pyramid.points) if i > 0},
        "image.fine": (image.fine, 251),
        "image.tokens": (image.tokens, 8),
        "image.nodes": (image.nodes, 4),
        "submap.fine": (submap.fine, 32),
        "submap.tokens": (submap.tokens, 4),
        "submap.nodes": (submap.nodes, 4),
        "fused.image": (nodes.image, 4),
        "fused.points": (nodes.points, 4),
    }
    numbers: dict[str, np.ndarray] = {}
    for name, (rows, step) in outputs.items():
        numbers[name] = rows[::step].numpy()
        numbers[f"{name}.mean"] = rows.double().mean(0).float().numpy()
    padded = torch.cat([submap.points, submap.points.new_full((1, 3), torch.nan)])
    numbers |= {
        "patches.sizes": (submap.patches < len(submap.points)).sum(1).numpy(),
        "patches.centers": padded[submap.patches].nanmean(1).numpy(),
        "patches.valid_points": submap.node_valid.numpy(),
        "patches.valid_pixels": image.node_valid.numpy(),
    }
    for name in MATCHED:
        numbers[f"matches.{name}"] = getattr(matches, name).numpy().astype(np.int32)
    for name in ("scores", "points", "offsets"):
        numbers[f"matches.{name}"] = getattr(matches, name).numpy()
    return numbers


def second_benchmark_numbers(
    model: Diff2I2P, stages: Stages, overrides: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Matches by the rules of RGB-D Scenes V2, in evaluation and in training: all else is the same.

    Drawn nodes are all far from each other, so they get a common part.
    """
    common = torch.from_numpy(_drawn("common node", (CONFIG.fusion.dim,)).astype(np.float32))
    common *= NODE_GAIN / common.norm()
    nodes = FusedNodes(
        *(F.normalize(part + common, dim=-1) for part in (stages.nodes.image, stages.nodes.points))
    )
    other = copy.copy(model)
    other.config = load_config(RELEASED_V2, ["benchmark.root=unused", *overrides]).model.build()
    numbers: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for mode, training in (("evaluation", False), ("training", True)):
            other.training = training
            matches = other.match(stages.image, stages.submap, nodes)
            for name in MATCHED:
                numbers[f"{mode}.{name}"] = getattr(matches, name).numpy().astype(np.int32)
            for name in ("scores", "points"):
                numbers[f"{mode}.{name}"] = getattr(matches, name).numpy()
    return numbers


def pose_numbers(model: Diff2I2P, golden: Golden, stages: Stages) -> dict[str, np.ndarray]:
    """Poses of the true correspondences, tuned: by the localizer's solver, and by the differentiable one with
    the pose loss's gradients. (Matches of drawn weights fix no pose.)"""
    pair = golden.pair
    with torch.no_grad():
        true = correspondences(model, stages.image, stages.submap, golden.drawn)
    solved = solve_pnp(true.pixels.numpy(), true.points.numpy(), pair.camera, true.scores.numpy())
    assert isinstance(solved, PoseEstimate)
    leaves = replace(
        true, points=true.points.clone().requires_grad_(), scores=true.scores.clone().requires_grad_()
    )
    poses = estimate_poses([pair], [leaves], PoseSettings())
    (poses.rotation + poses.translation).sum().backward()
    assert leaves.points.grad is not None and leaves.scores.grad is not None
    return {
        "pose.solved": solved.camera_from_points,
        "pose.differentiable": poses.camera_from_cloud[0].detach().numpy(),
        "pose.loss": torch.cat([poses.rotation, poses.translation]).detach().numpy(),
        "pose.points_gradient": leaves.points.grad.numpy(),
        "pose.scores_gradient": leaves.scores.grad.numpy(),
    }


def step_numbers(step: TrainingStep) -> dict[str, np.ndarray]:
    """Losses, the norm of every gradient in the order of the names, and the first values of some weights'."""
    gradients = dict(sorted(step.gradients.items()))
    weights = [name for name, gradient in gradients.items() if gradient.ndim > 1]
    numbers = {f"loss.{name}": np.asarray(value, np.float32) for name, value in step.losses.items()}
    numbers["gradient.norms"] = np.array([g.double().norm().item() for g in gradients.values()], np.float32)
    return numbers | {f"gradient.{name}": gradients[name].flatten()[:64].numpy() for name in weights[::8]}


def matched_rows(numbers: Mapping[str, np.ndarray]) -> Rows:
    """The matches among the numbers of `stage_numbers`."""
    pixels, points = (numbers[f"matches.{name}_indices"] for name in ("pixel", "point"))
    return torch.from_numpy(pixels).long(), torch.from_numpy(points).long()


def released_step(model: Diff2I2P, golden: Golden, matched: Rows) -> TrainingStep:
    """A step of the released training on given matches."""
    settings = load_config(RELEASED, ["benchmark.root=unused"]).losses
    return training_step(model.train(), golden.pair, settings, matched, golden.drawn)
