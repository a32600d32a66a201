"""Pictures of the matches of an image with the map: the image, the map as seen from a pose, and lines."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diff2i2p_core.evaluation.trajectory import QueryResult
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import invert, transform_points
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.recorded import Matches, localize_with_matches
from diff2i2p_core.mapping.describe import render_look
from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.reports.overlay import (
    BACKGROUND,
    PANEL_WIDTH,
    depth_picture,
    depth_span,
    overlay,
    render_map,
    shrunk,
)
from diff2i2p_core.reports.page import Figure
from diff2i2p_core.reports.pair_pictures import RIGHT, WRONG
from diff2i2p_core.typing import Array, Image

LINES = 80
"""At most so many of each colour, evenly chosen."""
GAP = 6
"""Pixels between the image and the map."""


def localization_figure(
    localizer: Localizer,
    image: Image,
    camera: Camera,
    result: QueryResult,
    caption: str,
    depth: NDArray[np.float32] | None = None,
) -> Figure:
    """The matches of `image` (H, W, 3) with the map, seen from the pose that was found; of an image that was
    refused, seen from its true pose, if that is known. Then the map over the image, from the same pose.

    Results have no matches, so they are computed again: near the pose that was found, or in the whole map.
    `depth` (H, W) is only used if the localizer cannot do without.
    """
    found, true = result.map_from_camera, result.true_map_from_camera
    pose, whose = (true, "the true pose") if found is None else (found, "the pose found")
    depth = depth if localizer.needs_depth else None
    _, matches = localize_with_matches(localizer, image, camera, found, depth)
    pinhole, point_map = camera.undistorted(), localizer.map
    picture, small, scale = shrunk(camera.rectify(image), pinhole, PANEL_WIDTH)
    if pose is None:
        return Figure(caption, [("camera image; its true pose is unknown", picture)])
    right = matches.right(pose, pinhole, localizer.settings)
    title = f"{right.sum()} of {len(right)} matches agree with {whose}; right: the map seen from there"
    drawn = overlay(picture, small, pose, point_map.cloud.points, point_map.spacing)
    return Figure(
        caption,
        [
            (title, match_picture(picture, small, pose, point_map, matches, right, scale)),
            ("the map's points over the image, coloured by depth", drawn),
        ],
    )


def map_picture(point_map: PointMap, map_from_camera: Array, camera: Camera) -> Image:
    """The map as the camera sees it (H, W, 3), as it is rendered for matching if it is: else as points."""
    rendered = point_map.rendered
    if rendered is None:
        return render_map(camera, map_from_camera, point_map.cloud, point_map.spacing)
    view = render_look(rendered.cloud, rendered.spacing, map_from_camera, camera, rendered.views.settings)
    known = view.depth > 0
    if not rendered.cloud.cloud.attributes:
        return depth_picture(view.depth, known, *depth_span(view.depth[known]))
    colored = view.image if view.image.ndim == 3 else np.repeat(view.image[..., None], 3, axis=2)
    return np.where(known[..., None], colored, np.array(BACKGROUND, np.uint8))


def match_picture(
    image: Image,
    camera: Camera,
    map_from_camera: Array,
    point_map: PointMap,
    matches: Matches,
    right: NDArray[np.bool_],
    scale: float,
) -> Image:
    """The image (H, W, 3) | the map from the pose, (H, 2 W + GAP, 3). Lines lead from matched pixels to their
    points: green if they agree with the pose, else red. `scale` is that of the image, see `shrunk`."""
    rendered = map_picture(point_map, map_from_camera, camera)
    gap = np.full((len(image), GAP, 3), BACKGROUND, np.uint8)
    canvas: Image = np.ascontiguousarray(np.hstack([image, gap, rendered]))
    ends, depth = camera.project(transform_points(invert(map_from_camera), matches.points))
    drawable = camera.contains(ends, depth)
    starts = (matches.pixels + 0.5) * scale - 0.5
    for rows, color in ((~right, WRONG), (right, RIGHT)):
        index = np.flatnonzero(rows & drawable)
        for row in index[:: -(-len(index) // LINES) or 1]:
            start = np.rint(starts[row]).astype(int).tolist()
            end = np.rint(ends[row] + (camera.width + GAP, 0)).astype(int).tolist()
            cv2.line(canvas, start, end, color, 1, cv2.LINE_AA)
            for at in (start, end):
                cv2.circle(canvas, at, 2, color, -1, cv2.LINE_AA)
    return canvas
