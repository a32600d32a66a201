"""How large a map is, and how much memory it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diff2i2p_core.mapping.map_file import PointMap
from diff2i2p_core.mapping.packed import CPU_BUDGET, pack


def map_sizes(point_map: PointMap, path: Path | str) -> dict[str, Any]:
    """JSON types: counts, the extent in metres, and the bytes of the file and in memory when in use."""
    blocks, rendered = pack(point_map.submaps).blocks, point_map.rendered
    points = point_map.cloud.points
    nodes = sum(block.tensors["nodes"].numel() for block in blocks)
    features = 2 * sum(block.num_bytes for block in blocks)
    signatures = 0 if rendered is None else rendered.views.signatures.nbytes
    return {
        "points": len(points),
        "matchers": point_map.kinds,
        "views": 0 if rendered is None else len(rendered.views),
        "look": None if rendered is None else rendered.look.name,
        "view_features": 0 if rendered is None else sum(rendered.views.counts),
        "rendered_points": 0 if rendered is None else len(rendered.cloud.cloud),
        "submaps": len(point_map.submaps),
        "submap_points": sum(sum(block.num_points) for block in blocks),
        "superpoints": sum(sum(block.num_superpoints) for block in blocks),
        "extent": [(end.astype(float).round(2) + 0.0).tolist() for end in (points.min(0), points.max(0))],
        "bytes": Path(path).stat().st_size,
        "memory_bytes": points.nbytes + 2 * nodes + min(features, CPU_BUDGET) + signatures,
    }
