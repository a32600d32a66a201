"""The documentation site builds without a warning, so every link has a target."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import diff2i2p_core

REPO = Path(__file__).resolve().parents[1]
CORE = REPO / "diff2i2p_core"


class _Anchors(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {value for name, value in attrs if name == "id" and value}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason="needs the extra docs: run `make docs` once")
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(REPO / "docs"), str(folder / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "site"


@pytest.mark.slow
def test_every_document_and_every_room_has_a_page(site: Path) -> None:
    pages = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")}
    documents = {path.stem for path in (REPO / "docs").glob("*.md")} | {"generated/contributing"}
    rooms = {path.parent.name for path in CORE.glob("*/__init__.py")} - {"cli"}
    assert documents | {f"generated/api/{room}" for room in rooms} | {"generated/commands"} <= pages


@pytest.mark.slow
def test_the_public_names_are_documented(site: Path) -> None:
    described = _Anchors(site / "api.html").names
    assert {f"diff2i2p_core.{name}" for name in diff2i2p_core.__all__} <= described
