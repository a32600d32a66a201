"""The examples run unchanged: scripts with and without arguments, the notebook cell by cell."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.io.ply import write_ply
from diff2i2p_core.io.rgbd_folder import PosedFrames
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.mapping.map_file import load_map

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = EXAMPLES / "localize_in_a_room.ipynb"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The examples' data module, with its data in a folder of this test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import synthetic_room

        patch.setattr(synthetic_room, "FOLDER", tmp_path_factory.mktemp("examples"))
        yield synthetic_room


@pytest.fixture
def run(
    room: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a script of the examples with arguments, in this process; what it prints."""

    def call(script: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return call


def write_calibration(path: Path, camera: Camera) -> None:
    """As ROS's camera_calibration does."""
    path.write_text(
        f"image_width: {camera.width}\nimage_height: {camera.height}\n"
        f"camera_matrix: {{data: {camera.matrix.ravel().tolist()}}}\n"
    )


def test_localize(run: Callable[..., str], room: ModuleType) -> None:
    pattern = r"frame-000000\.color\.jpg: camera at \[(.*)\] m, 1 sigma .*\n\d+ inliers, \d+ ms\n"
    printed = re.fullmatch(pattern, run("01_localize.py"))
    assert printed
    truth = PosedFrames(room.query_frames()).pose(0)[:3, 3]
    assert np.linalg.norm(np.array(printed[1].split(), float) - truth) < 0.05


def test_build_a_map_of_a_cloud_and_localize_in_it(
    run: Callable[..., str], room: ModuleType, tmp_path: Path
) -> None:
    """Both scripts with a user's files: a cloud, a trajectory, an image and its calibration."""
    frames = PosedFrames(room.map_frames())
    cloud: PointCloud = load_map(room.map_file()).cloud
    write_ply(tmp_path / "room.ply", cloud)
    poses = [frames.pose(number) for number in frames.numbers]
    write_trajectory(tmp_path / "path.tum", [float(number) for number in frames.numbers], poses)
    out = tmp_path / "mine.map"
    built = run("02_build_map.py", tmp_path / "room.ply", out, "--trajectory", tmp_path / "path.tum")
    assert f"{out}: 16 submaps, " in built and " points with colours\n" in built
    write_calibration(tmp_path / "camera.yaml", room.CAMERA)
    image = room.query_frames() / "frame-000003.color.jpg"
    assert "frame-000003.color.jpg: camera at [" in run(
        "01_localize.py", out, image, tmp_path / "camera.yaml"
    )


def test_the_python_of_the_readme(
    room: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "room.map").symlink_to(room.map_file())
    (tmp_path / "photo.jpg").symlink_to(room.query_frames() / "frame-000003.color.jpg")
    write_calibration(tmp_path / "camera_info.yaml", room.CAMERA)
    monkeypatch.chdir(tmp_path)
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    exec(compile(snippet, "README.md", "exec"), {})
    pose = np.array(re.findall(r"-?\d[\d.e-]*", capsys.readouterr().out), float).reshape(4, 4)
    truth = PosedFrames(room.query_frames()).pose(3)
    assert np.linalg.norm(pose[:3, 3] - truth[:3, 3]) < 0.05


def test_evaluate_a_folder(run: Callable[..., str]) -> None:
    lines = run("03_evaluate_folder.py").splitlines()
    assert lines[-2] == "4 of 4 localized, 100% well" and ", 0 falsely" in lines[-1]


def test_own_matcher(run: Callable[..., str]) -> None:
    lines = run("04_own_matcher.py").splitlines()
    errors = [re.fullmatch(r"frame \d: ([\d.]+) cm by sift, \d+ of \d+ inliers", line) for line in lines]
    assert len(errors) == 4 and all(match and float(match[1]) < 5 for match in errors)


@pytest.mark.slow
def test_lidar_scans(run: Callable[..., str], xfeat_network: object) -> None:
    lines = [line for line in run("06_lidar_scans.py", "--starts", "1").splitlines() if line[0] != " "]
    for number, line in enumerate(lines):
        words = rf"frame {number}: \d of 1 within 0.2 m and 0.5 deg, \d worse, \d refused"
        assert re.fullmatch(words, line)
    assert len(lines) == 2


def test_missing_arguments_are_named(
    run: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for script in ("01_localize.py", "02_build_map.py", "03_evaluate_folder.py", "04_own_matcher.py"):
        with pytest.raises(SystemExit, match="2"):
            run(script, tmp_path)
        assert "error: give " in capsys.readouterr().err


def test_the_notebook_runs_and_is_kept_without_outputs(room: ModuleType) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, {cell['id']}", "exec"), names)
    error = names["error"]
    assert isinstance(error, float) and error < 0.05


@pytest.mark.slow
def test_the_notebook_runs_in_jupyter(room: ModuleType) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbformat, nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbformat, nbclient and ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    room.map_file(), room.query_frames()
    source = f"import synthetic_room, pathlib\nsynthetic_room.FOLDER = pathlib.Path({str(room.FOLDER)!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(source))
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in output["data"] for output in pictures) == 3
