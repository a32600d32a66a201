"""Rigs for localizers with known answers: the body is where the first camera that is localized says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diff2i2p_core.geometry.covariance import covariance_at
from diff2i2p_core.geometry.rig import RigCamera
from diff2i2p_core.geometry.se3 import invert
from diff2i2p_core.localization.rig_result import RigLocalization
from diff2i2p_core.typing import Array


def localize_rig(
    localizer: Any,
    images: Sequence[np.ndarray],
    cameras: Sequence[RigCamera],
    *,
    prior: Array | None = None,
    depths: Sequence[np.ndarray | None] | None = None,
) -> RigLocalization:
    """By `localizer.localize` of each image."""
    answers = {}
    for number, (image, mounted) in enumerate(zip(images, cameras, strict=True)):
        of_camera = None if prior is None else prior @ mounted.body_from_camera
        depth = None if depths is None else depths[number]
        answers[mounted.name] = localizer.localize(image, mounted.camera, prior=of_camera, depth=depth)
    found = [mounted for mounted in cameras if answers[mounted.name].localized]
    refused = RigLocalization.refused(next(iter(answers.values())).reason)
    if not found:
        return RigLocalization(False, refused.reason, None, None, answers)
    answer = answers[found[0].name]
    pose = answer.map_from_camera @ invert(found[0].body_from_camera)
    covariance = _moved(answer.covariance, pose[:3, 3] - answer.map_from_camera[:3, 3])
    names = tuple(mounted.name for mounted in found)
    for mounted in cameras:  # as for the real one, each camera's pose follows from the body's
        of_camera = pose @ mounted.body_from_camera
        moved = _moved(covariance, of_camera[:3, 3] - pose[:3, 3])
        share = replace(answers[mounted.name], localized=True, reason="")
        answers[mounted.name] = replace(share, map_from_camera=of_camera, covariance=moved)
    return RigLocalization(True, "", pose, covariance, answers, names, latency_ms=answer.latency_ms)


def _moved(covariance: Array | None, lever: Array) -> Array | None:
    return None if covariance is None else covariance_at(covariance, lever)
