"""What a release states about itself: one version, licences, citation, and a CI whose targets exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import diff2i2p_core

REPO = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (REPO / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    return dict(tomllib.loads(read("pyproject.toml")))


def test_all_files_name_the_version_of_the_core(project: dict[str, Any]) -> None:
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "diff2i2p_core.__version__"}
    node = "ros2_ws/src/diff2i2p"
    named = {
        "package.xml": re.findall(r"<version>(.+)</version>", read(f"{node}/package.xml")),
        "setup.py": re.findall(r'version="(.+)"', read(f"{node}/setup.py")),
        "CITATION.cff": [yaml.safe_load(read("CITATION.cff"))["version"]],
        "CHANGELOG.md": re.findall(r"^## ([\d.]+) - \d{4}-\d\d-\d\d$", read("CHANGELOG.md"), re.M)[:1],
    }
    assert named == {name: [diff2i2p_core.__version__] for name in named}


def test_licences_are_files_that_the_package_names(project: dict[str, Any]) -> None:
    files = project["project"]["license-files"]
    assert {"LICENSE", "NOTICE", "diff2i2p_core/assets/weights/LICENSE.md"} <= set(files)
    assert [name for name in files if not (REPO / name).is_file()] == []
    terms = read("diff2i2p_core/assets/weights/LICENSE.md")
    weights = (REPO / "diff2i2p_core/assets/weights").glob("*.safetensors")
    assert [path.name for path in weights if f"`{path.name}`" not in terms] == []


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == [
        "Mu", "Ren", "Zhang", "Pan", "Zhang", "Gao",
    ]  # fmt: skip
    assert "Differentiable Image-to-Point Cloud Registration with Diffusion Prior" in paper["title"]
    assert paper["identifiers"][0]["value"] == "arXiv:2507.06651"


def test_the_workflow_runs_targets_of_the_makefile() -> None:
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^(\w+):", read("Makefile"), re.M)
    assert [step for step in steps if step.removeprefix("make ") not in targets] == []
    assert {"make lint", "make test", "make docs"} <= set(steps)
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.12"]


def test_hooks_are_tools_of_the_development_extra(project: dict[str, Any]) -> None:
    """At the pinned versions, as `make lint` runs them."""
    tools = {re.split(r"\W", text)[0] for text in project["project"]["optional-dependencies"]["dev"]}
    local = next(
        repo for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] if repo["repo"] == "local"
    )
    called = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in local["hooks"]}
    assert called == {"ruff", "mypy"} and called <= tools
