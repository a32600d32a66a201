"""The parameter table and what depends on it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy")

from diff2i2p.parameters import Parameters, markdown_table

REPO = Path(__file__).resolve().parents[2]


def test_the_documentation_has_the_current_table() -> None:
    """To mend: put the output of diff2i2p.parameters.markdown_table() between the two marks."""
    text = (REPO / "docs/ros2.md").read_text(encoding="utf-8")
    table = text.split("markdown_table() -->\n")[1].split("<!-- end of parameters")[0]
    assert table == markdown_table()


def test_the_parameter_file_names_parameters_with_their_types() -> None:
    path = REPO / "ros2_ws/src/diff2i2p/config/localize.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    defaults = {row.name: row.default for row in fields(Parameters)}
    assert {name: type(value) for name, value in given.items()} == {
        name: type(defaults[name]) for name in given
    }
    assert all(row.metadata["description"] for row in fields(Parameters))
