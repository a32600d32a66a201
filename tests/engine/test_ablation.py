"""Released rules on and off: which apply, what they change, and a table of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.engine import ablation
from diff2i2p_core.engine.ablation import Result, run_ablation, variants
from diff2i2p_core.engine.ablation_report import markdown
from diff2i2p_core.engine.config_file import load_config
from diff2i2p_core.engine.experiment import TrainConfig
from diff2i2p_core.engine.run_folder import RunFolder
from diff2i2p_core.errors import InputError

RELEASED = Path(__file__).parents[2] / "training/configs/7scenes-released.yaml"
SCENES = [{"folder": "somewhere"}]


def experiment(**changes: Any) -> TrainConfig:
    values = {
        "name": "study",
        "steps": 9,
        "scenes": SCENES,
        "model": {"replace": {"tuning": True}},
        "validation": {"scenes": SCENES},
    }
    return TrainConfig.model_validate({**values, **changes})


def test_all_rules_together_are_the_released_objective() -> None:
    base = experiment(losses={"csd": {"weight": 0.001}})
    found = variants(base)
    assert found["none"] == base
    everything = found["all"]
    assert everything.losses == load_config(RELEASED, ["benchmark.root=unused"]).losses
    network = everything.model.build()
    assert (network.tuning, network.points.normalization) == (True, "positive_sum")
    assert all(found[name] != base for name in found if name != "none")
    assert (found["csd"].losses.csd.mode, found["csd"].losses.csd.weight) == ("released", 0.001)
    assert (found["no_csd"].losses.csd.weight, everything.losses.csd.weight) == (0, 0.001)


def test_rules_that_change_nothing_are_left_out() -> None:
    base = experiment(model={}, losses={"coarse": {"kind": "contrastive"}})
    assert list(variants(base, ["pose"])) == ["none", "pose"]
    assert not {"dct", "deformed", "csd", "negatives", "augmentation", "correspondences"} & set(
        variants(base)
    )
    with pytest.raises(InputError, match=r"'negatives' changes nothing .*losses.coarse.kind=circle"):
        variants(base, ["negatives"])
    with pytest.raises(InputError, match=r"'pos': no such rule"):
        variants(base, ["pos"])
    with pytest.raises(InputError, match="no held-out pairs"):
        next(run_ablation(experiment(validation={}), 3, [1]))


class FinishedAtOnce:
    """Replaces the trainer: a run whose metrics follow from its seed and pose loss."""

    started: list[str]

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def run(self, resume: bool) -> None:
        config, folder = self.config, RunFolder(self.config.output / self.config.name)
        self.started.append(config.name)
        folder.start(config, 0)
        folder.log({"step": config.steps, "loss": 0.5, "seconds": 1.0})
        ratio = 0.1 * (config.seed % 10) + (0.05 if config.losses.pose.rotation_weight else 0)
        metrics = dict.fromkeys(("fmr", "rr", "median_rotation_deg", "median_position_m"), 0.5)
        mean = {**metrics, "ir": ratio, "mean_rre_deg": None, "mean_rte_m": None}
        folder.log({"step": config.steps, "validation": {"mean": mean}})


def test_command_keeps_finished_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "Trainer", FinishedAtOnce)
    FinishedAtOnce.started = []
    path = tmp_path / "study.yaml"
    base = experiment(output=tmp_path, seed=1)
    path.write_text(base.model_dump_json())
    arguments = ["ablate", str(path), "--steps", "4", "--only", "pose", "--json", "--seeds"]
    CliRunner().invoke(app, [*arguments, "1"], catch_exceptions=False)
    assert FinishedAtOnce.started == ["none-1", "pose-1"]
    printed = CliRunner().invoke(app, [*arguments, "2"], catch_exceptions=False)
    assert FinishedAtOnce.started == ["none-1", "pose-1", "none-2", "pose-2"]

    content = json.loads(printed.stdout)
    assert content == json.loads((tmp_path / "study" / "ablation.json").read_text())
    assert [run["metrics"]["ir"] for run in content["runs"]] == pytest.approx([0.15, 0.1, 0.25, 0.2])
    rows = (tmp_path / "study" / "ablation.md").read_text().splitlines()
    assert "| none | 2 | 20.0 ± 7.1 | 50.0 ± 0.0 | 50.0 ± 0.0 | - | - | 0.5 ± 0.0 | 50.0 ± 0.0 | - |" in rows
    assert any(row.startswith("| pose | 2 | 15.0 ± 7.1 |") and row.endswith("| -5.0 ± 0.0 |") for row in rows)

    with pytest.raises(InputError, match="other settings"):
        list(run_ablation(base, 5, [1], ["pose"]))


def test_a_single_seed_has_no_spread() -> None:
    metrics = dict.fromkeys(("ir", "fmr", "rr", "mean_rre_deg", "mean_rte_m"), 0.25)
    metrics |= {"median_rotation_deg": 1.0, "median_position_m": 0.02}
    text = markdown(experiment(), 10, [Result("none", 1, dict(metrics), 0.1, 1.0)])
    assert "| none | 1 | 25.0 | 25.0 | 25.0 | 0.2 | 25.0 | 1.0 | 2.0 | - |" in text
    assert "csd (needs losses.csd.weight above 0)" in text
