"""Published results on both benchmarks for comparison: in percent, means over scenes."""

from __future__ import annotations

from dataclasses import dataclass

Scores = tuple[float | None, float | None, float | None]
"""IR, FMR, RR in percent."""


@dataclass(frozen=True)
class Published:
    """The row of one method. Thresholds are 0.05 m / 0.1 / 0.1 m."""

    method: str
    source: str
    rgbd_scenes_v2: Scores | None
    sevenscenes: Scores | None

    def on(self, benchmark: str) -> Scores | None:
        return self.sevenscenes if benchmark == "7scenes" else self.rgbd_scenes_v2


PUBLISHED_HEAD = ("method", "IR %", "FMR %", "RR %", "source")
PUBLISHED_NOTES = {
    "7scenes": (
        "Published with 0.05 m / 0.1 / 0.1 m. 2D3D-MATR's RR by scene: chess 96.9, fire 90.7, heads 52.1, "
        "office 95.5, pumpkin 80.9, kitchen 86.1, stairs 28.4."
    ),
    "rgbd_scenes_v2": (
        "Published with 0.05 m / 0.1 / 0.1 m; Diff2I2P's numbers are probably at the stricter 0.025 m / "
        "0.25 / 0.03 m of its code."
    ),
}

PUBLISHED = (
    Published("2D3D-MATR", "ICCV 2023, arXiv 2308.05667", (32.4, 90.8, 56.4), (50.1, 92.1, 75.8)),
    Published("FreeReg + PnP", "ICLR 2024, arXiv 2310.03420", (30.9, 82.0, 57.3), None),
    Published("B2-3D", "AAAI 2025", (35.1, 94.4, 63.4), (50.9, 93.1, 77.7)),
    Published("CA-I2P", "ICCV 2025, arXiv 2506.21364", (35.5, 93.6, 63.3), (51.6, 92.4, 79.5)),
    Published("Flow-I2P", "IJCV 2025", (40.1, 93.3, 68.4), (52.0, 91.6, 78.4)),
    Published("Diff2I2P", "ICCV 2025, arXiv 2507.06651", (36.9, 77.1, 60.5), (53.2, 92.2, 83.0)),
    Published("R23Net", "CVPR 2026", (43.4, 93.6, 77.0), (54.9, 93.2, 83.8)),
    Published("Diff-Reg", "its paper, 10 steps", (37.8, 91.4, 85.5), (52.0, 91.6, 83.1)),
    Published("GRIP", "2026", (60.9, 91.8, 84.6), (71.9, 89.8, 84.1)),
    Published("UniCorrn", "CVPR 2026", (None, None, 92.5), (None, None, 91.0)),
)
