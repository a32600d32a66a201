"""Images with depth renders of the map from near by: what the geometry features are trained on.

A *place* is a posed RGB-D folder or a synthetic room. Its cloud is fused from its frames, and rendered at
poses that differ from those of the images. Each place is prepared once, as one file of small arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.io.files import atomic_path


@dataclass(frozen=True)
class Place:
    """Images of a place, and renders of its cloud from near their poses."""

    images: NDArray[np.uint8]
    """(F, H, W) grey."""
    depths: NDArray[np.float16]
    """(F, H, W) metres at the images' pixels; 0 where unknown."""
    renders: NDArray[np.float16]
    """(V, H, W) metres, depth of the cloud; 0 where there is no surface."""
    frame_of: NDArray[np.int64]
    """(V,) the image that belongs to each render."""
    image_from_render: NDArray[np.float64]
    """(V, 4, 4) between the optical frames."""
    intrinsics: NDArray[np.float64]
    """(4,) fx, fy, cx, cy in pixels, of images and renders."""

    @property
    def camera(self) -> Camera:
        return Camera(self.images.shape[2], self.images.shape[1], *self.intrinsics.tolist())

    def __len__(self) -> int:
        return len(self.renders)

    def save(self, path: Path) -> None:
        arrays = {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)

    @classmethod
    def load(cls, path: Path) -> Place:
        """InputError for a file that is not a place."""
        try:
            arrays: dict[str, Any] = load_file(path)
            return cls(**arrays)
        except (OSError, SafetensorError, TypeError) as error:
            raise InputError(f"{path}: not a prepared place ({error}); prepare it again") from None
