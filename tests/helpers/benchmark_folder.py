"""A small benchmark on disk: images in front of a wall."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np

from diff2i2p_core.geometry.se3 import compose
from diff2i2p_core.models.config import lite_config

SMALL = lite_config("geometry").model_copy(
    update={"image": lite_config().image.model_copy(update={"height": 48})}
)
"""A network for images of 64 x 48."""
FILES = (("image", "color", "png"), ("depth", "depth", "png"), ("cloud", "cloud", "npy"))


def write_benchmark(root: Path, overlaps: list[float], points: int = 600, stem: str = "train-full") -> Path:
    """Images of 64x48 in front of a wall at 2 m, one pair for each overlap."""
    folder = root / "data" / "wall" / "seq-01"
    folder.mkdir(parents=True)
    (root / "metadata").mkdir()
    np.savetxt(root / "data" / "wall" / "camera-intrinsics.txt", [[60, 0, 32], [0, 60, 24], [0, 0, 1]])
    rng = np.random.default_rng(0)
    entries = []
    for number, overlap in enumerate(overlaps):
        cv2.imwrite(str(folder / f"color_{number:03d}.png"), rng.integers(0, 255, (48, 64, 3), np.uint8))
        cv2.imwrite(str(folder / f"depth_{number:03d}.png"), np.full((48, 64), 2000, np.uint16))
        wall = np.column_stack([rng.uniform(-1, 1, (points, 2)), np.full(points, 2.0)])
        np.save(folder / f"cloud_{number:03d}.npy", wall - [0.1, 0, 0])
        files = {f"{k}_file": f"wall/seq-01/{n}_{number:03d}.{e}" for k, n, e in FILES}
        transform = compose(np.eye(3), [0.1, 0, 0])
        entries.append({"scene_name": "wall", **files, "overlap": overlap, "cloud_to_image": transform})
    (root / "metadata" / f"{stem}.pkl").write_bytes(pickle.dumps(entries))
    return root
