"""`diff2i2p view`: what it draws, and that a browser shows it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner
from viewer import drawn, panel, sliders

from diff2i2p_core.cli import view as command
from diff2i2p_core.cli.main import app
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import exp, invert, transform_points
from diff2i2p_core.io.trajectories import write_trajectory
from diff2i2p_core.localization.localizer import Localizer
from diff2i2p_core.localization.recorded import Matches
from diff2i2p_core.localization.result import Localization
from diff2i2p_core.localization.settings import LocalizerSettings
from diff2i2p_core.mapping.map_file import PointMap, save_map
from diff2i2p_core.mapping.viewpoints import looking
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.ops.render_view import render_view
from diff2i2p_core.reports import map_points, map_scene
from diff2i2p_core.reports.map_image import MOST_MATCHES, LocalizedImage, show_localized

viser = pytest.importorskip("viser", reason="needs the extra 'viz' (viser)")
CAMERA = Camera(320, 240, 260, 260, 159.5, 119.5)
VIEWS = np.array([looking(np.array([2, 1.0, 1.2]), yaw, 0.1) for yaw in (-1.5, 0.0, 1.5)])


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


def layers(scene: dict[str, Any]) -> list[Any]:
    return [handle for name, handle in scene.items() if name.startswith("/map/")]


def points_drawn(scene: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Points and colours of all layers."""
    points, colors = zip(*((layer.points, layer.colors) for layer in layers(scene)), strict=True)
    return np.concatenate(points), np.concatenate(colors)


def test_the_map_and_its_views(server: Any, room: PointMap) -> None:
    assert room.rendered is not None
    map_points.show_map(server, room, "room.map")
    scene, cloud = drawn(server), room.rendered.cloud.cloud
    assert cloud.colors is not None
    points, colors = points_drawn(scene)
    order, same = np.lexsort(points.T), np.lexsort(cloud.points.T)
    np.testing.assert_allclose(points[order], cloud.points[same], atol=1e-6)
    np.testing.assert_array_equal(colors[order], cloud.colors[same])
    ends = scene["/views"].points.reshape(len(VIEWS), 16, 3)
    np.testing.assert_allclose(ends[:, 0], VIEWS[:, :3, 3], atol=1e-6)
    assert (np.einsum("vec,vc->ve", ends - ends[:, :1], VIEWS[:, :3, 2]) > -1e-6).all()  # they look ahead
    assert f"room.map**: {len(cloud):,} points, in their colours" in panel(server)
    assert "3 views" in panel(server)


def test_the_ceiling_is_hidden_and_sliders_change_what_is_seen(server: Any, room: PointMap) -> None:
    map_points.show_map(server, room, "room.map")
    scene, controls = drawn(server), sliders(server)
    assert max(layer.points[:, 2].max() for layer in layers(scene) if layer.visible) == pytest.approx(
        VIEWS[0, 2, 3] + map_points.HEADROOM, abs=0.07
    )
    assert "Points above 1.6 m are hidden" in panel(server)
    controls["layers"].value = 40
    assert all(layer.visible for layer in layers(scene))
    controls["points, cm"].value = 5.0
    assert {layer.point_size for layer in layers(scene)} == {0.05}


def test_colourless_maps_show_intensity_or_height(
    server: Any, room: PointMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_points, "MOST_POINTS", 100)
    intensity = np.arange(len(room.cloud)).astype(np.uint8)
    lidar = PointCloud(room.cloud.points, intensity=intensity)
    map_points.show_map(server, replace(room, cloud=lidar, rendered=None, views=VIEWS), "lidar")
    points, colors = points_drawn(drawn(server))
    assert len(points) == 100 and "grey by intensity" in panel(server)
    row = np.flatnonzero((room.cloud.points == points[0]).all(axis=1))[0]
    assert colors[0].tolist() == 3 * [int(intensity[row])]
    server.scene.reset()
    plain = PointCloud(room.cloud.points)
    map_points.show_map(server, replace(room, cloud=plain, rendered=None, views=VIEWS), "plain")
    points, colors = points_drawn(drawn(server))
    high, low = points[:, 2].argmax(), points[:, 2].argmin()
    assert colors[high, 0] > colors[high, 2] and colors[low, 2] > colors[low, 0]  # red above blue


def test_up_is_where_the_views_have_their_top() -> None:
    np.testing.assert_array_equal(map_points.up_direction(VIEWS), [0, 0, 1])
    np.testing.assert_array_equal(map_points.up_direction(np.eye(4)[None]), [0, -1, 0])
    np.testing.assert_array_equal(map_points.up_direction(np.empty((0, 4, 4))), [0, 0, 1])


def localized_image(answer: Localization, pixels: np.ndarray, points: np.ndarray) -> LocalizedImage:
    black = np.zeros((240, 320, 3), np.uint8)
    return LocalizedImage("a.jpg", black, CAMERA, answer, Matches(pixels, points), LocalizerSettings())


def test_right_matches_are_green_and_wrong_ones_red_and_begin_at_the_image(server: Any) -> None:
    pose = exp([0, 0, 0, 1, 2, 3])
    pixels = np.array([[100.0, 80], [20, 30], [200, 100]])
    points = transform_points(pose, map_scene.on_image(CAMERA, pixels, 2.5))
    points[1] += 0.5
    refused = Localization.refused("")
    answer = replace(refused, localized=True, map_from_camera=pose, covariance=1e-4 * np.eye(6))
    show_localized(server, localized_image(answer, pixels, points), VIEWS)
    scene = drawn(server)
    right, wrong = scene["/matches/right"], scene["/matches/wrong"]
    np.testing.assert_allclose(right.points[:, 1], points[[0, 2]], atol=1e-6)
    starts = transform_points(pose, map_scene.on_image(CAMERA, pixels, map_scene.CAMERA_DEPTH))
    np.testing.assert_allclose(wrong.points, [[starts[1], points[1]]], atol=1e-6)
    assert right.colors[..., 1].min() > right.colors[..., 0].max()
    assert wrong.colors[..., 0].min() > wrong.colors[..., 1].max()
    words = panel(server)
    assert "2 matches that agree" in words and "1 that do not" in words and "at most 3 cm" in words


def test_an_image_without_a_pose_says_why(server: Any) -> None:
    nothing = np.empty((0, 2)), np.empty((0, 3))
    show_localized(server, localized_image(Localization.refused("too dark"), *nothing), VIEWS)
    assert "not localized: too dark" in panel(server) and "/camera" not in drawn(server)


def test_the_ellipsoid_has_three_standard_deviations(server: Any) -> None:
    covariance = np.diag([0.01, 0.04, 0.0001, 1, 1, 1])
    turn = exp([0, 0, 0.5, 0, 0, 0])[:3, :3]
    covariance[:3, :3] = turn @ covariance[:3, :3] @ turn.T
    words = map_scene.show_covariance(server, exp([0, 0, 0, 1, 0, 0]), covariance)
    mesh = drawn(server)["/covariance"]
    np.testing.assert_allclose(np.abs(mesh.vertices @ turn).max(axis=0), [0.3, 0.6, 0.03], rtol=0.02)
    np.testing.assert_allclose(mesh.position, [1, 0, 0])
    assert mesh.faces.max() < len(mesh.vertices) and words.endswith("at most 60 cm")
    assert map_scene.show_covariance(server, np.eye(4), 1e-4 * covariance).endswith("drawn 10 times larger")
    vertices = drawn(server)["/covariance"].vertices
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1).max(), 0.06, rtol=0.02)


def test_an_image_with_its_matches(
    server: Any, room_file: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, scene = run(monkeypatch, server, room_file, "--image", image, "--camera", "260,260,159.5,119.5")
    assert {"/views", "/camera/image", "/camera/frustum", "/matches/right", "/covariance"} <= set(scene)
    np.testing.assert_allclose(scene["/camera"].position, [2.1, 1.1, 1.2], atol=0.05)
    assert len(scene["/matches/right"].points) == MOST_MATCHES and "localized with" in output
    behind = server.initial_camera.position - scene["/camera"].position
    assert behind @ looking(np.array([2.1, 1.1, 1.2]), 0.05, 0.1)[:3, 2] < -1


def test_options_that_do_not_fit_are_named(
    server: Any, room_file: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="give both, or none"):
        run(monkeypatch, server, room_file, "--image", image)
    with pytest.raises(InputError, match="give one of them"):
        run(monkeypatch, server, room_file, "--image", image, "--camera", "1,1,1,1", "--replay", tmp_path)
    with pytest.raises(InputError, match="cannot be read as a TUM trajectory"):
        run(monkeypatch, server, room_file, "--replay", tmp_path)


def test_the_command_shows_a_replay(
    server: Any, room_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trajectory(tmp_path / "trajectory.tum", [1.0], [VIEWS[0]])
    row = {"number": 0, "stamp": 1.0, "translation_m": None, "rotation_deg": None, "num_inliers": None}
    (tmp_path / "result.json").write_text(json.dumps({"frames": [row]}))
    _, scene = run(monkeypatch, server, room_file, "--replay", tmp_path)
    assert {"/views", "/replay/body", "/replay/poses"} <= set(scene)


@pytest.mark.slow
def test_a_browser_draws_it_without_an_error(server: Any, room: PointMap, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium")
    map_points.show_map(server, room, "room.map")
    pose = looking(np.array([2.1, 1.1, 1.2]), 0.05, 0.1)
    map_scene.show_camera(server, "/camera", pose, CAMERA, np.full((240, 320, 3), 200, np.uint8))
    errors: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        )
        page = browser.new_page(viewport={"width": 640, "height": 400})
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.get_port()}")
        drawing = "[...document.querySelectorAll('canvas')].some(canvas => canvas.width > 0)"
        page.wait_for_function(drawing, timeout=200_000)
        page.wait_for_timeout(10_000)
        page.screenshot(path=tmp_path / "page.png", timeout=150_000)
        browser.close()
    assert errors == []
    picture = cv2.imread(str(tmp_path / "page.png"))
    assert picture is not None and len(np.unique(picture.reshape(-1, 3), axis=0)) > 500  # the speckled walls
