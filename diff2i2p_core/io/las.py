"""LAS and LAZ clouds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.io.chunks import CHUNK
from diff2i2p_core.io.raw_cloud import RawCloud, base_of

_RGB = ("red", "green", "blue")


def read_las(path: Path) -> RawCloud:
    """Points, colours and intensity of a LAS or LAZ file."""
    import laspy

    _check_header(path)
    try:
        with laspy.open(path) as reader:
            count, at, base = reader.header.point_count, 0, np.zeros(3)
            has_color = set(_RGB) <= set(reader.header.point_format.dimension_names)
            points = np.empty((count, 3), np.float32)
            colors = np.empty((count, 3), np.uint16) if has_color else None
            intensity = np.empty(count, np.uint16)
            for part in reader.chunk_iterator(CHUNK):
                rows = slice(at, at + len(part))
                xyz = np.stack([np.asarray(getattr(part, axis), np.float64) for axis in "xyz"], axis=1)
                if at == 0:
                    base = base_of(xyz)
                points[rows] = xyz - base
                if colors is not None:
                    for channel, name in enumerate(_RGB):
                        colors[rows, channel] = part[name]
                intensity[rows] = part["intensity"]
                at += len(part)
        if at < count:
            raise ValueError(f"header says {count} points, file has {at}")
    except OSError:
        raise
    except Exception as error:  # laspy and its decompressors raise many kinds on broken files
        raise InputError(f"{path}: not a complete LAS/LAZ file ({reason(error)}); copy it again") from None
    return RawCloud(points, colors, intensity, base)


def _check_header(path: Path) -> None:
    """InputError if the counts in a LAS header are impossible: laspy would run for hours."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(375)
    if len(header) < 227 or header[:4] != b"LASF":
        raise InputError(f"{path}: not a LAS/LAZ file (no header); give a complete .las or .laz cloud")
    header_size, data_offset, num_records = struct.unpack_from("<HII", header, 94)
    point_size, count = struct.unpack_from("<HI", header, 105)
    num_extended = 0
    if header[25] >= 4 and len(header) == 375:
        num_extended, count = struct.unpack_from("<IQ", header, 243)
    compression = 1 if path.suffix.lower() == ".las" else 200
    if (
        data_offset > size
        or header_size + 54 * num_records > data_offset
        or 60 * num_extended > size
        or count * point_size > compression * size
    ):
        raise InputError(f"{path}: truncated, or its header is damaged; copy it again")
