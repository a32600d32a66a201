"""The house rules that a tool can check: layers of imports, packages, pins, file sizes."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[1]
CORE = REPO / "diff2i2p_core"
NODE = REPO / "ros2_ws/src/diff2i2p/diff2i2p"

LAYERS = [
    "cli",
    "demo",
    "benchmarks",
    "engine",
    "reports",
    "evaluation",
    "localization",
    "mapping",
    "losses",
    "datasets",
    "pairs",
    "weights",
    "models",
    "rooms",
    "messages",
    "io",
    "ops",
    "geometry",
    "parallel",
    "settings",
    "typing",
    "compiled",
    "errors",
]
"""Top first. A part imports only from parts below it."""

ROS_MODULES = (
    r"(rclpy|rosidl_\w+|ament_\w+|launch|launch_\w+|tf2_\w+|cv_bridge|message_filters|builtin_interfaces|diff2i2p"
    r"|\w+_msgs|rcl_interfaces|rosbag2_py|tf_transformations)"
)
MAX_FILE = 50 * 2**20
TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".rst", ".sh", ".cff", ".ipynb", ".xml", ".txt"}
MAX_LINES = 300
"""Maximum length of a Python file: one subject."""


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, also inside functions and for type checking."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert not statement.level, f"{path}: a relative import; write the full name"
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def modules(package: Path) -> dict[str, Path]:
    """The files of a package by the names of their modules."""
    names = {path: path.relative_to(package.parent).with_suffix("").parts for path in sources(package)}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


def circle(package: Path) -> list[str]:
    """Modules of a package that import each other in a circle; empty if there is no circle."""
    files = modules(package)
    graph = {
        # A name is a module's, or of something in a module.
        module: {name if name in files else name.rpartition(".")[0] for name in imports(path)} & files.keys()
        for module, path in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [REPO / name for name in listing.stdout.split("\0") if name and (REPO / name).is_file()]


def test_every_part_of_the_core_has_a_layer() -> None:
    parts = {path.stem for path in CORE.glob("*.py")} | {path.parent.name for path in CORE.glob("*/*.py")}
    assert parts - {"__init__", "diff2i2p_core"} <= set(LAYERS)


def test_the_architecture_page_draws_the_layers() -> None:
    drawing = (REPO / "docs/architecture.md").read_text(encoding="utf-8").split("```")[3]
    columns = re.findall(r"^.{13}(\w.*?)(?:  .*)?$", drawing, re.M)
    assert ", ".join(columns).split(", ") == LAYERS


def test_the_picture_of_the_architecture_shows_the_code_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "tools")
    draw = importlib.import_module("draw_architecture")
    assert draw.DRAWING.read_text(encoding="utf-8") == draw.drawing(), "run tools/draw_architecture.py"


def test_imports_run_downwards_only() -> None:
    upwards = []
    for path in sources(CORE):
        part = path.relative_to(CORE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in imports(path):
            package, _, target = name.partition(".")
            target = target.split(".")[0]
            if package == "diff2i2p_core" and target in LAYERS and LAYERS.index(target) < LAYERS.index(part):
                upwards.append(f"{path.relative_to(REPO)} imports {name}")
    assert not upwards


@pytest.mark.parametrize("package", [CORE, NODE], ids=["core", "node"])
def test_files_import_each_other_in_no_circle(package: Path) -> None:
    assert circle(package) == []


@pytest.mark.parametrize(
    "closing",
    [
        "from pack.one import f",
        "def g():\n    import pack.one",
        "if TYPE_CHECKING:\n    from pack import one",
    ],
    ids=["module", "function", "type checking"],
)
def test_a_circle_of_files_is_found(tmp_path: Path, closing: str) -> None:
    """The rule above can fail."""
    package = tmp_path / "pack"
    (package / "part").mkdir(parents=True)
    (package / "one.py").write_text("from pack.part.two import g\n")
    (package / "part/two.py").write_text("import json\n")
    assert circle(package) == []
    (package / "part/two.py").write_text(f"{closing}\n")
    assert set(circle(package)) == {"pack.one", "pack.part.two"}


def test_the_core_imports_no_ros_module() -> None:
    ros = re.compile(ROS_MODULES)
    found = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in sources(CORE)
        for name in imports(path)
        if ros.fullmatch(name.split(".")[0])
    ]
    assert not found


def test_ros_modules_are_recognised() -> None:
    """The test above can fail: the node's own imports break the rule."""
    ros = re.compile(ROS_MODULES)
    names = {name.split(".")[0] for path in sources(NODE) for name in imports(path)}
    assert {"rclpy", "sensor_msgs", "diff2i2p"} <= {name for name in names if ros.fullmatch(name)}
    assert not {name for name in names & {"numpy", "torch", "cv2", "diff2i2p_core"} if ros.fullmatch(name)}


def test_the_command_starts_without_heavy_imports() -> None:
    code = "import sys, diff2i2p_core.cli.main; print(*sorted({'torch', 'cv2', 'scipy'} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert loaded.stdout.split() == []


def command_line_options() -> set[str]:
    """Of all sub-commands."""
    from typer.main import get_command

    from diff2i2p_core.cli.main import app

    def of(command: Any) -> set[str]:
        names = {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        return names.union(*(of(below) for below in getattr(command, "commands", {}).values()))

    return {name for name in of(get_command(app)) if name.startswith("--")}


def named_options(path: Path, options: set[str]) -> list[str]:
    """The command line's options that the texts of a file name, f"--{name}" included."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = [node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if path.is_relative_to(CORE / "demo"):  # arguments of the programs that it starts
        texts = [text for text in texts if text not in options]
    found = [name for text in texts for name in re.findall(r"--[a-z][a-z0-9-]*|(?:^|\s)--$", text)]
    return [name for name in found if name.strip() in options | {"--"}]


def test_texts_of_the_core_name_no_option_of_the_command_line() -> None:
    """Users of Python and ROS have no command line; cli/ may name options."""
    options = command_line_options()
    assert {"--out", "--camera", "--no-track", "--trajectory"} <= options
    files = [path for path in sources(CORE) if not path.is_relative_to(CORE / "cli")]
    named = {str(path.relative_to(REPO)): named_options(path, options) for path in files}
    assert {name: options for name, options in named.items() if options} == {}


def test_every_folder_of_the_core_is_a_package() -> None:
    assert [str(p.parent) for p in sources(CORE) if not (p.parent / "__init__.py").is_file()] == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in sources(REPO / "tests") if path.name != "conftest.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_every_dependency_is_pinned() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    listed = {re.split(r"[^\w.-]", text)[0].lower() for group in groups for text in group}
    pinned = {
        line.split("==")[0].lower()
        for line in (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    assert "ros-jazzy-rclpy" in listed
    assert listed - pinned == {"triton"}  # its version is what torch's wheel for GPUs asks for


RULE = re.compile(r"(?<![\w/.^-])R([1-9]\d?)\b")
OUTSIDE = re.compile(r"\bMETHOD(\.md)?\b|\(8\.\d+\)|\bD\d{1,2}\b")
"""An old form of citing a document that is not in the repository."""


def test_every_rule_that_a_text_cites_is_on_the_methods_page() -> None:
    page = (REPO / "docs/method.md").read_text(encoding="utf-8")
    listed = re.findall(r'<a id="r(\d+)"></a>R\1 ', page)
    assert listed == [str(number + 1) for number in range(len(listed))] and len(listed) > 20
    wrong = {}
    for path in tracked():
        if path.suffix in TEXTS and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            cited = [f"R{n}" for n in RULE.findall(text) if n not in listed]
            if found := cited + [match[0] for match in OUTSIDE.finditer(text)]:
                wrong[str(path.relative_to(REPO))] = found
    assert wrong == {}


def test_citations_of_rules_are_recognised() -> None:
    """The test above can fail."""
    assert RULE.findall("(docs/method.md R9), R21 to R23; A^R2, R2D2, README") == ["9", "21", "23"]
    assert [m[0] for m in OUTSIDE.finditer("METHOD 2.9, METHOD D11 (8.6)")] == [
        "METHOD",
        "METHOD",
        "D11",
        "(8.6)",
    ]


def test_no_tracked_file_is_large() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > MAX_FILE] == []


def test_no_python_file_is_long() -> None:
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked() if path.suffix == ".py"
    }
    assert [f"{path.relative_to(REPO)}: {count}" for path, count in lines.items() if count > MAX_LINES] == []
