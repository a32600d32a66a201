"""Settings of the training objective. The defaults are the corrected method. The released rules can be turned
on; they are cited by their numbers in docs/method.md, R16 to R25."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from diff2i2p_core.losses.csd_step import NEGATIVE_PROMPT, POSITIVE_PROMPT
from diff2i2p_core.losses.diffusion_prior import DEFAULT_BASE, DEFAULT_CONTROLNET
from diff2i2p_core.settings import Section


class CoarseSettings(Section):
    """The loss of node features against the overlaps of nodes (2D3D-MATR)."""

    weight: float = Field(default=1.0, ge=0)
    kind: str = "circle"
    """A name in `kinds.COARSE_LOSSES`."""
    multi_scale: float = Field(default=0.5, ge=0)
    """Weight, within the coarse loss, of the same loss on the nodes before fusion."""
    temperature: float = Field(default=0.1, gt=0)
    """Of the contrastive loss."""
    negatives: Literal["larger", "smaller"] = "larger"
    """A pair is negative if its larger overlap is small. `smaller` is the released rule (R18)."""
    unknown_nodes: Literal["ignored", "negative"] = "ignored"
    """Nodes without depth or with too few points have no truth. As released, they are negatives (R19)."""


class FineSettings(Section):
    """The loss of pixel and point features at true correspondences."""

    weight: float = Field(default=1.0, ge=0)
    kind: str = "circle"
    """A name in `kinds.FINE_LOSSES`."""
    samples: int = Field(default=256, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    """Of the contrastive loss."""
    deformed_points: bool = False
    """Measure distances from the tuned points, as released (R16)."""


class TuningSettings(Section):
    """Deformable Correspondence Tuning, for models that have it. Off if both weights are 0."""

    offset_weight: float = Field(default=0.2, ge=0)
    residual_weight: float = Field(default=0.4, ge=0)
    depthless_pixels: bool = False
    """Include pixels without depth, with the camera's centre as their point, as released (R20)."""

    @property
    def used(self) -> bool:
        return self.offset_weight > 0 or self.residual_weight > 0


class PoseSettings(Section):
    """The loss of the PnP pose from the matches against the truth."""

    rotation_weight: float = Field(default=1.0, ge=0)
    """Weight of the angle, per radian."""
    translation_weight: float = Field(default=1.0, ge=0)
    """Weight of the camera's displacement, per metre."""
    start_epoch: int = Field(default=1, ge=1)
    """First epoch (from 1) with these terms."""
    gate_deg: float | None = Field(default=30.0, gt=0)
    gate_m: float | None = Field(default=1.0, gt=0)
    """A pose further from the truth comes from wrong matches, and gets no gradient. None: no gate."""
    inlier_px: float | None = Field(default=8.0, gt=0)
    """Use matches within this distance of the robust start's projection. None: all (the released rule)."""
    max_matches: int | None = Field(default=2048, ge=4)
    """Maximum number of matches; the best by score are used."""
    score_temperature: float | None = Field(default=0.1, gt=0)
    """A match with score s has weight exp((s - best) / temperature), so that the pose error reaches the
    features.
    None: all weights are equal (the released rule), and only tuned points get a gradient."""
    pixel_order: Literal["column_row", "row_column"] = "column_row"
    """`row_column` passes swapped pixels to PnP, like the released code (R21)."""

    start: Literal["robust", "released"] = "robust"
    """`released`: RANSAC at 1 px, then OpenCV's refinement on all matches, even behind the camera (R21)."""
    gradient: Literal["exact", "released"] = "exact"
    """`released`: errors weighted by depth, so that it is not the derivative of what was minimised (R21)."""

    @property
    def weighted(self) -> bool:
        """Whether the loss has a weight above 0."""
        return self.rotation_weight + self.translation_weight > 0

    def used(self, epoch: int) -> bool:
        return epoch >= self.start_epoch and self.weighted


class CsdSettings(Section):
    """Control-side score distillation: the depth from the PnP pose, judged by a diffusion model."""

    weight: float = Field(default=0.0, ge=0)
    """0: off, because the models are a download of 5.7 GB. The released weight is 0.001."""
    mode: Literal["control", "released"] = "control"
    """`released`: the released loss, hard rendering and densification (R23 to R25)."""
    start_epoch: int = Field(default=31, ge=1)
    base: str = DEFAULT_BASE
    """Stable Diffusion 1.x or 2.x: a local folder, or a hub id fetched with `hf download`."""
    controlnet: str = DEFAULT_CONTROLNET
    model: str | None = None
    """A folder with both, as `diff2i2p prior train` and diffusers' ControlNet pipelines write it: the base
    model, and the ControlNet in `controlnet`. It replaces `base` and `controlnet`."""
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    checkpointing: bool = True
    """Recompute the models' activations in the backward pass: 2.8 instead of 4 GB, a third more time."""
    guidance: float | None = None
    """None: 1 (none) in `control`, 4 in `released`."""
    prompts: tuple[str, str] = (POSITIVE_PROMPT, NEGATIVE_PROMPT)
    timesteps: tuple[int, int] = (20, 980)
    """Smallest and largest step that can be drawn, of 1000."""
    render_scale: float = Field(default=0.25, gt=0, le=1)
    """Size of the soft render relative to the network's image. Points must share pixels."""
    render_gamma: float = Field(default=0.05, gt=0)
    """Metres behind the front at which a point has weight 1/e."""
    min_visible: float = Field(default=0.3, ge=0, le=1)
    """Pairs are left out if either pose sees a smaller fraction of the cloud."""
    deformed_points: bool = False
    """Render the cloud with the tuned points, as released (R16)."""

    @field_validator("timesteps")
    @classmethod
    def _in_order(cls, steps: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= steps[0] <= steps[1] < 1000:
            raise ValueError(f"needs two steps in ascending order between 0 and 999, not {steps}")
        return steps

    @property
    def sources(self) -> tuple[str, str]:
        """Where base model and ControlNet are: folders or hub ids."""
        if self.model is None:
            return self.base, self.controlnet
        return self.model, str(Path(self.model) / "controlnet")

    def used(self, epoch: int) -> bool:
        return epoch >= self.start_epoch and self.weight > 0


class LossSettings(Section):
    """All terms with their weights. 0 leaves a term out."""

    coarse: CoarseSettings = CoarseSettings()
    fine: FineSettings = FineSettings()
    tuning: TuningSettings = TuningSettings()
    pose: PoseSettings = PoseSettings()
    csd: CsdSettings = CsdSettings()
