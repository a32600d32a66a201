"""Sphinx: the pages of docs/, and the reference, which is written from docstrings before each build.

`make docs` builds build/docs. Warnings are errors, among them links to pages, headings and files that are
missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

REPO = Path(__file__).resolve().parents[1]
CORE = REPO / "diff2i2p_core"
GENERATED = REPO / "docs/generated"
WITHOUT_PAGES = {"cli"}
"""The commands have a page of their own, made from their help."""

sys.path.insert(0, str(REPO))

project = "Diff²I2P"
copyright = "Diff2I2P maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "Diff²I2P"
highlight_language = "none"  # of blocks that name no language: drawings, commands, tables of files
myst_heading_anchors = 4
default_role = "code"  # single backticks in docstrings are code, as in Markdown
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
    "exclude-members": "model_config",
}
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "NDArray", "Array", "Image", "Progress")}
python_use_unqualified_type_names = True
add_module_names = False
suppress_warnings = ["ref.python"]  # names in annotations that several modules have


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", lambda app: write_generated_pages())
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", read_signature)


def write_generated_pages() -> None:
    """The reference, the commands' help, and the documents of the repository's root, below docs/generated."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    (GENERATED / "api").mkdir(parents=True)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (REPO / name).read_text(encoding="utf-8")
        (GENERATED / name.lower()).write_text(_seen_from_generated(text), encoding="utf-8")
    for package in sorted(path.parent for path in CORE.glob("*/__init__.py")):
        if package.name not in WITHOUT_PAGES:
            page = GENERATED / "api" / f"{package.name}.rst"
            page.write_text(_package_page(package), encoding="utf-8")
    command = [sys.executable, "-m", "typer", "diff2i2p_core.cli.main", "utils", "docs", "--name", "diff2i2p"]
    help_texts = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    (GENERATED / "commands.md").write_text(help_texts, encoding="utf-8")


def read_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code` and sections such as Args; no other character is markup."""
    parts = "\n".join(lines).split("`")
    parts[::2] = [re.sub(r"([|*]|_\b)(?! )", r"\\\1", text) for text in parts[::2]]
    lines[:] = "`".join(parts).split("\n")
    if what not in ("attribute", "property", "data"):  # there it would read words before a colon as the type
        lines[:] = GoogleDocstring(lines, Config()).lines()


def read_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, arguments: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Types as the source names them: without the marks that autodoc leaves around aliases."""

    def as_written(text: str | None) -> str | None:
        return text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)|(?<=: )'([^']+)'", r"\1\2", text)

    return as_written(arguments), as_written(result)


def _seen_from_generated(text: str) -> str:
    """Markdown of the repository's root with its relative links as docs/generated needs them."""
    text = re.sub(r"\]\((?!\w+:|#)", "](../../", text)
    return text.replace("](../../docs/", "](../")


def _package_page(package: Path) -> str:
    """A package's docstring, then a section for each of its modules."""
    lines = [*_heading(package.name, "="), f".. automodule:: diff2i2p_core.{package.name}", ""]
    for path in sorted(package.glob("*.py")):
        if path.stem != "__init__":
            module = f"diff2i2p_core.{package.name}.{path.stem}"
            lines += [*_heading(path.stem, "-"), f".. automodule:: {module}", ""]
    return "\n".join(lines)


def _heading(text: str, underline: str) -> list[str]:
    return [text, underline * len(text), ""]
