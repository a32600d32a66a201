"""What faster arithmetic does to poses, with the shipped weights on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diff2i2p_core.geometry.se3 import rotation_error_deg, translation_error
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.models import layers, resnet_fpn
from diff2i2p_core.typing import Array

MAP_FRAMES, QUERIES = list(range(600, 700, 20)), list(range(606, 700, 10))


@pytest.fixture(scope="module")
def kitchen(data_dir: Path) -> tuple[Localizer, PosedFrames]:
    folder = data_dir / "redkitchen"
    return Localizer.from_frames(folder, MAP_FRAMES, matcher="network"), PosedFrames(folder)


def poses(kitchen: tuple[Localizer, PosedFrames], align: bool = False, **settings: Any) -> list[Array | None]:
    """Without the alignment to colours by default, as it hides changes of the matches."""
    localizer, frames = kitchen
    localizer.settings = LocalizerSettings(align=align, candidates=1, **settings)
    chosen = [frames[frames.numbers.index(number)] for number in QUERIES]
    priors = [None if align else f.world_from_camera for f in chosen]  # alignment would start from a prior
    answers = [
        localizer.localize(f.image, frames.camera, prior=prior)
        for f, prior in zip(chosen, priors, strict=True)
    ]
    return [answer.map_from_camera for answer in answers]


def moved(before: list[Array | None], after: list[Array | None]) -> tuple[Array, Array]:
    """Metres and degrees, of the images that are localized both times."""
    both = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    assert len(both) >= 0.6 * len(QUERIES)
    metres = [translation_error(a, b) for a, b in both]
    return np.array(metres), np.array([rotation_error_deg(a, b) for a, b in both])


@pytest.mark.slow
def test_poses_stay_with_winograd_and_move_by_millimetres_in_half_precision(
    kitchen: tuple[Localizer, PosedFrames], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = poses(kitchen)
    metres, degrees = moved(exact, poses(kitchen, precision="bfloat16"))
    assert 0 < np.median(metres) < 0.02 and np.median(degrees) < 0.5
    aligned = (poses(kitchen, align=True, precision=precision) for precision in ("float32", "bfloat16"))
    metres, degrees = moved(*aligned)
    assert 0 < np.median(metres) < 0.001 and np.median(degrees) < 0.05
    for module in (layers, resnet_fpn):
        monkeypatch.setattr(module, "WINOGRAD_CHANNELS", 16)  # otherwise this network is too narrow for it
    monkeypatch.setattr(layers, "WINOGRAD_PIXELS", 1)
    metres, degrees = moved(exact, poses(kitchen))
    # Rounding changes a few matches near a threshold, as another number of threads does.
    assert np.mean((metres < 1e-4) & (degrees < 1e-3)) >= 0.8 and metres.max() < 5e-3 and degrees.max() < 0.1
