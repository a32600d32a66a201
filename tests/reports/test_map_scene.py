"""`diff2i2p view`: what it draws, and that a browser shows it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from diff2i2p_core.cli import view as command
from diff2i2p_core.cli.main import app
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, from_quaternion, invert
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.mapping.map_file import PointMap, save_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.reports import map_scene

viser = pytest.importorskip("viser", reason="needs the extra 'viz' (viser)")
CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
VIEWS = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (-1.5, 0.0, 1.5)])


@pytest.fixture
def server(unused_port: int) -> Iterator[Any]:
    started = command.start_server("127.0.0.1", unused_port)
    yield started
    started.stop()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def speckled(room_cloud: PointCloud) -> PointCloud:
    colors = np.random.default_rng(0).integers(0, 255, (len(room_cloud), 3)).astype(np.uint8)
    return replace(room_cloud, colors=colors)


@pytest.fixture(scope="module")
def room(speckled: PointCloud, xfeat_network: XFeat) -> PointMap:
    return Localizer.from_cloud(speckled, matcher="views", views=VIEWS).map


@pytest.fixture
def room_file(room: PointMap, tmp_path: Path) -> Path:
    save_map(room, tmp_path / "room.map")
    return tmp_path / "room.map"


@pytest.fixture
def image(speckled: PointCloud, tmp_path: Path) -> Path:
    pixels = render_view(speckled, invert(looking(np.array([2.1, 1.1, 1.2]), 0.05, 0.1)), CAMERA, 0.02).image
    cv2.imwrite(str(tmp_path / "image.png"), pixels[..., ::-1])
    return tmp_path / "image.png"


def drawn(server: Any) -> dict[str, Any]:
    """What is drawn, by name."""
    return dict(server.scene._handle_from_node_name)


def run(monkeypatch: pytest.MonkeyPatch, server: Any, *arguments: object) -> tuple[str, dict[str, Any]]:
    """Output and scene of `view`, which ends when it would wait."""
    scenes = []
    monkeypatch.setattr(command, "start_server", lambda host, port: server)
    monkeypatch.setattr(command, "wait", lambda: scenes.append(drawn(server)))
    result = CliRunner().invoke(app, ["view", *map(str, arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output, scenes[0]


def test_the_map_and_its_views(server: Any, room: PointMap, monkeypatch: pytest.MonkeyPatch) -> None:
    map_scene.show_map(server, room)
    scene = drawn(server)
    assert {"/map", "/views/0", "/views/1", "/views/2"} <= set(scene)
    np.testing.assert_allclose(scene["/map"].points, room.cloud.points, atol=1e-6)
    np.testing.assert_array_equal(scene["/map"].colors, room.cloud.colors)
    view = scene["/views/1"]
    w, x, y, z = view.wxyz
    np.testing.assert_allclose(from_quaternion(view.position, [x, y, z, w]), room.viewpoints[1], atol=1e-6)
    monkeypatch.setattr(map_scene, "MOST_POINTS", 100)
    grey = replace(room, cloud=PointCloud(room.cloud.points), rendered=None, views=VIEWS)
    map_scene.show_map(server, grey)
    shown = drawn(server)["/map"]
    assert len(shown.points) == 100
    high, low = shown.points[:, 2].argmax(), shown.points[:, 2].argmin()
    assert shown.colors[high, 0] > shown.colors[low, 0]


def test_right_matches_are_green_and_wrong_ones_red(server: Any) -> None:
    pose, points = exp([0, 0, 0, 1, 2, 3]), np.arange(12.0).reshape(4, 3)
    map_scene.show_matches(server, pose, points, np.array([True, False, True, True]))
    scene = drawn(server)
    right, wrong = scene["/matches/right"], scene["/matches/wrong"]
    np.testing.assert_array_equal(right.points[:, 1], points[[0, 2, 3]])
    np.testing.assert_array_equal(wrong.points, [[pose[:3, 3], points[1]]])
    assert right.colors[..., 1].min() > right.colors[..., 0].max()
    assert wrong.colors[..., 0].min() > wrong.colors[..., 1].max()


def test_the_ellipsoid_has_three_standard_deviations(server: Any) -> None:
    covariance = np.diag([0.01, 0.04, 0.0001, 1, 1, 1])
    turn = exp([0, 0, 0.5, 0, 0, 0])[:3, :3]
    covariance[:3, :3] = turn @ covariance[:3, :3] @ turn.T
    map_scene.show_covariance(server, exp([0, 0, 0, 1, 0, 0]), covariance)
    mesh = drawn(server)["/covariance"]
    np.testing.assert_allclose(np.abs(mesh.vertices @ turn).max(axis=0), [0.3, 0.6, 0.03], rtol=0.02)
    np.testing.assert_allclose(mesh.position, [1, 0, 0])
    assert mesh.faces.max() < len(mesh.vertices)


def test_an_image_with_its_matches(
    server: Any, room_file: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, scene = run(monkeypatch, server, room_file, "--image", image, "--camera", "260,260,159.5,119.5")
    assert {"/map", "/camera", "/matches/right", "/covariance"} <= set(scene)
    np.testing.assert_allclose(scene["/camera"].position, [2.1, 1.1, 1.2], atol=0.05)
    assert scene["/camera"].image is not None and scene["/camera"].aspect == pytest.approx(4 / 3)
    assert len(scene["/matches/right"].points) > 100 and "matches agree with the pose" in output


def test_a_slider_goes_through_a_replay(
    server: Any, room_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps, poses = [10.0, 11, 12, 13, 14], [exp([0, 0, 0.1 * i, 0.1 * i, 0, 1]) for i in range(5)]
    map_scene.show_replay(server, stamps, poses)
    handles = server.gui._gui_input_handle_from_uuid.values()
    (slider,) = (handle for handle in handles if isinstance(handle, viser.GuiSliderHandle))
    assert (slider.min, slider.max) == (0, 4)
    for number in (3, 0, 4):
        slider.value = number
        np.testing.assert_allclose(drawn(server)["/replay/body"].position, poses[number][:3, 3], atol=1e-6)
    (tmp_path / "out").mkdir()
    write_trajectory(tmp_path / "out/trajectory.tum", stamps, poses)
    _, scene = run(monkeypatch, server, room_file, "--replay", tmp_path / "out")
    assert scene["/replay/path"].points.shape == (4, 2, 3)


def test_options_that_do_not_fit_are_named(
    server: Any, room_file: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="give both, or none"):
        run(monkeypatch, server, room_file, "--image", image)
    with pytest.raises(InputError, match="give one of them"):
        run(monkeypatch, server, room_file, "--image", image, "--camera", "1,1,1,1", "--replay", tmp_path)
    with pytest.raises(InputError, match="cannot be read as a TUM trajectory"):
        run(monkeypatch, server, room_file, "--replay", tmp_path)


@pytest.mark.slow
def test_a_browser_draws_it_without_an_error(server: Any, room: PointMap, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    map_scene.show_map(server, room)
    pose = looking(np.array([2.1, 1.1, 1.2]), 0.05, 0.1)
    map_scene.show_camera(server, "/camera", pose, CAMERA, np.full((240, 320, 3), 200, np.uint8))
    errors: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        )
        page = browser.new_page(viewport={"width": 800, "height": 500})
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.get_port()}")
        page.wait_for_selector("canvas", timeout=120_000)
        page.wait_for_timeout(10_000)
        page.screenshot(path=tmp_path / "page.png")
        browser.close()
    assert errors == []
    picture = cv2.imread(str(tmp_path / "page.png"))
    assert picture is not None and len(np.unique(picture.reshape(-1, 3), axis=0)) > 500  # the speckled walls
