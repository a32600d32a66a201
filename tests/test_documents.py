"""The Markdown documents: every link has a target, and lines fit a screen."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(REPO.glob("*.md")), *sorted((REPO / "docs").glob("*.md"))]
MAX_LINE = 120
WRAPPED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md")


def prose(path: Path) -> str:
    """The document without its code."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)


@lru_cache
def anchors(path: Path) -> set[str]:
    """The names of a document's headings in links, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\((?!\w+:)([^)\s]*)\)", prose(path)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_named_tests_exist(path: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (REPO / name).exists()] == []


@pytest.mark.parametrize("name", WRAPPED)
def test_lines_fit_a_screen(name: str) -> None:
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) >= MAX_LINE] == []


def test_broken_links_are_found() -> None:
    """The test above can fail."""
    assert "results" in anchors(REPO / "README.md") and "no-such-heading" not in anchors(REPO / "README.md")
    assert re.findall(r"\]\((?!\w+:)([^)\s]*)\)", "[a](b.md#c) [d](https://e) ") == ["b.md#c"]
