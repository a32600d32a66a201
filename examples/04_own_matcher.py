"""A matcher of your own: keyframes matched with SIFT propose poses to the localizer, beside the network.

python examples/04_own_matcher.py                                       # in a synthetic room
python examples/04_own_matcher.py map_frames/ query_frames/             # with your own posed RGB-D folders

A matcher is a class with the interface of `localization.hypothesis.Proposer`. The localizer asks its matchers
one after the other, aligns the poses they propose to the map's colours, and decides.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import synthetic_room
from diff2i2p_core import Localizer, PosedFrames, build_map
from diff2i2p_core.geometry.depth import back_project
from diff2i2p_core.geometry.pnp import solve_pnp
from diff2i2p_core.geometry.se3 import transform_points
from diff2i2p_core.localization.hypothesis import Hypothesis
from diff2i2p_core.localization.query import Query

MAX_RATIO = 0.8
"""A match is kept if its descriptors are closer than this fraction of the second-best distance."""
TOGETHER = 3
"""Keyframes whose poses are compared before the first answer."""


@dataclass(frozen=True)
class Keyframe:
    """SIFT features of a map frame that have depth."""

    number: int
    points: NDArray[np.float64]
    """(N, 3) map frame."""
    descriptors: NDArray[np.float32]
    """(N, 128)."""


class SiftKeyframes:
    """Proposes the poses at which SIFT features of an image and of a keyframe match, the best match first."""

    name = "sift"
    needs_depth = False
    device = torch.device("cpu")

    def __init__(self, frames: PosedFrames) -> None:
        self._sift = cv2.SIFT.create(nfeatures=2000)
        self._matcher = cv2.BFMatcher(cv2.NORM_L2)
        self._keyframes = [self._keyframe(frames, index) for index in range(len(frames))]

    def propose(self, query: Query) -> Iterator[list[Hypothesis]]:
        pixels, descriptors = query.computed("sift", lambda: self._features(query.image))
        query.clock.spent("image")
        matches = [self._match(descriptors, keyframe) for keyframe in self._keyframes]
        ranked = sorted(range(len(matches)), key=lambda index: -len(matches[index]))
        ranked = ranked[: query.settings.colored_candidates]
        query.clock.spent("match")
        hypotheses = (
            self._hypothesis(query, self._keyframes[index], pixels, matches[index]) for index in ranked
        )
        yield list(islice(hypotheses, TOGETHER))
        for hypothesis in hypotheses:
            yield [hypothesis]

    def _features(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Pixels (N, 2) and descriptors (N, 128)."""
        keypoints, descriptors = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if descriptors is None:
            return np.empty((0, 2)), np.empty((0, 128), np.float32)
        return np.array([keypoint.pt for keypoint in keypoints]), descriptors.astype(np.float32)

    def _keyframe(self, frames: PosedFrames, index: int) -> Keyframe:
        frame = frames[index]
        pixels, descriptors = self._features(frame.image)
        columns, rows = np.rint(pixels).astype(int).T
        points = back_project(frames.registered_depth(frame), frames.camera)[rows, columns]
        known = points[:, 2] > 0
        return Keyframe(
            frame.number, transform_points(frame.world_from_camera, points[known]), descriptors[known]
        )

    def _match(self, descriptors: NDArray[np.float32], keyframe: Keyframe) -> NDArray[np.int64]:
        """(M, 2): rows of the image's features and of the keyframe's that match."""
        nearest = self._matcher.knnMatch(descriptors, keyframe.descriptors, k=2)
        rows = [
            (pair[0].queryIdx, pair[0].trainIdx)
            for pair in nearest
            if len(pair) == 2 and pair[0].distance < MAX_RATIO * pair[1].distance
        ]
        return np.array(rows, np.int64).reshape(-1, 2)

    def _hypothesis(
        self, query: Query, keyframe: Keyframe, pixels: NDArray[np.float64], rows: NDArray[np.int64]
    ) -> Hypothesis:
        matched_pixels, points = pixels[rows[:, 0]], keyframe.points[rows[:, 1]]
        settings = replace(query.settings.pnp, max_error_px=query.settings.inlier_px(query.camera))
        estimate = solve_pnp(matched_pixels, points, query.camera, settings=settings)
        query.clock.spent("pose")
        return Hypothesis(self.name, f"keyframe {keyframe.number}", matched_pixels, points, estimate)


def main() -> None:
    parser = argparse.ArgumentParser(description="Localize a folder's images with SIFT keyframes.")
    parser.add_argument("map_frames", nargs="?", type=Path, help="posed RGB-D folder to build the map from")
    parser.add_argument("query_frames", nargs="?", type=Path, help="posed RGB-D folder to localize")
    args = parser.parse_args()
    if args.map_frames is not None and args.query_frames is None:
        parser.error("give the folder to localize, too")

    if args.map_frames is not None:
        keyframes, queries = PosedFrames(args.map_frames), PosedFrames(args.query_frames)
        point_map = build_map(args.map_frames, args.map_frames.with_suffix(".map"))
    else:
        keyframes = PosedFrames(synthetic_room.map_frames())
        queries = PosedFrames(synthetic_room.query_frames())
        point_map = Localizer.open(synthetic_room.map_file()).map

    localizer = Localizer(point_map, [SiftKeyframes(keyframes)])
    for index in range(len(queries)):
        frame = queries[index]
        answer = localizer.localize(frame.image, queries.camera)
        if answer.map_from_camera is None:
            print(f"frame {frame.number}: not localized: {answer.reason}")
            continue
        error = np.linalg.norm(answer.map_from_camera[:3, 3] - frame.world_from_camera[:3, 3])
        print(
            f"frame {frame.number}: {100 * error:.1f} cm by {answer.matcher}, "
            f"{answer.num_inliers} of {answer.num_correspondences} inliers"
        )


if __name__ == "__main__":
    main()
