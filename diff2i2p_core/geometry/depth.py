"""Depth images: back-projection, registration to another camera, z-buffers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.se3 import transform_points

MAX_DEPTH = 6.0
"""Metres. Beyond this, depth from a Kinect-class sensor is noise (this is also the benchmark's limit)."""


def back_project(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Depth (H, W) in metres to points (H, W, 3) in the camera frame; (0, 0, 0) where depth is 0."""
    v, u = np.indices(depth.shape, dtype=np.float32)
    x = (u - np.float32(camera.cx)) * depth / np.float32(camera.fx)
    y = (v - np.float32(camera.cy)) * depth / np.float32(camera.fy)
    return np.stack([x, y, depth], axis=-1)


def z_buffer(points: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    """The nearest depth (H, W) of points (N, 3) in the camera frame; 0 at pixels without points."""
    pixels, z = camera.project(points)
    inside = camera.contains(pixels, z)
    columns, rows = np.rint(pixels[inside]).astype(np.int64).T
    flat = np.full(camera.height * camera.width, np.inf, dtype=np.float32)
    np.minimum.at(flat, rows * camera.width + columns, z[inside].astype(np.float32))
    flat[np.isinf(flat)] = 0
    return flat.reshape(camera.height, camera.width)


def register_depth(
    depth: NDArray[np.float32], depth_camera: Camera, camera: Camera, camera_from_depth: ArrayLike
) -> NDArray[np.float32]:
    """Depth (H, W) of one camera seen from another (both undistorted): the nearest surface, or 0."""
    points = back_project(depth, depth_camera).reshape(-1, 3)
    return z_buffer(transform_points(camera_from_depth, points[points[:, 2] > 0]), camera)


def rectify_depth(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """Remove lens distortion from depth (H, W) of `camera`. Takes the depth of the nearest pixel, because the
    mean of two surfaces is on neither. 0 outside the original image. InputError for depth of another size."""
    camera.check_size(depth.shape, "depth")
    if not camera.is_distorted:
        return depth
    size = (camera.width, camera.height)
    coefficients = np.asarray(camera.distortion, float)
    if camera.distortion_model == "equidistant":
        maps = cv2.fisheye.initUndistortRectifyMap(
            camera.matrix, coefficients, np.eye(3), camera.matrix, size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(
            camera.matrix, coefficients, np.eye(3), camera.matrix, size, cv2.CV_32FC1
        )
    return np.asarray(cv2.remap(depth, *maps, interpolation=cv2.INTER_NEAREST, borderValue=0))
