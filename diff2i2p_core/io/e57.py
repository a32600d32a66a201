"""E57 files of laser scanners. Needs pye57 (the extra `e57`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diff2i2p_core.errors import InputError, reason
from diff2i2p_core.io.raw_cloud import RawCloud, base_of

_RGB = ("colorRed", "colorGreen", "colorBlue")
_AXES = ("cartesianX", "cartesianY", "cartesianZ")


def read_e57(path: Path) -> RawCloud:
    """All scans in their common frame, and where the scanner stood. Colours and intensity only if all scans
    have them."""
    try:
        import pye57
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: reading E57 needs pye57; install the extra 'e57' of diff2i2p_core (on x86_64)"
        ) from None
    try:
        with pye57.E57(str(path)) as file:
            headers = [file.get_header(index) for index in range(file.scan_count)]
            scanners = [header.translation for header in headers if header.has_pose()]
            scans = [
                file.read_scan(index, intensity=True, colors=True, ignore_missing_fields=True)
                for index in range(file.scan_count)
            ]
    except OSError:
        raise
    except Exception as error:  # pye57 and its C++ library raise many kinds on broken files
        raise InputError(f"{path}: not a complete E57 file ({reason(error)}); copy it again") from None
    if not scans:
        raise InputError(f"{path}: holds no scans; give a file with points")
    base = base_of(_columns(scans[0], _AXES))
    notes = [
        f"not all of its scans have {what}, which are left out"
        for what, names in (("colours", _RGB), ("intensities", ("intensity",)))
        if not _all_have(scans, names) and any(_all_have([scan], names) for scan in scans)
    ]
    return RawCloud(
        np.concatenate([(_columns(scan, _AXES) - base).astype(np.float32) for scan in scans]),
        np.concatenate([_columns(scan, _RGB) for scan in scans]) if _all_have(scans, _RGB) else None,
        np.concatenate([scan["intensity"] for scan in scans]) if _all_have(scans, ("intensity",)) else None,
        base,
        scanners=np.array(scanners, np.float64).reshape(-1, 3),
        notes=notes,
    )


def _all_have(scans: list[dict[str, Any]], names: tuple[str, ...]) -> bool:
    return all(name in scan for scan in scans for name in names)


def _columns(scan: dict[str, Any], names: tuple[str, ...]) -> Any:
    return np.stack([scan[name] for name in names], axis=1)
