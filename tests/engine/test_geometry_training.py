"""Training of geometry features: places, batches, steps that learn and resume, and the run's files."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from pretended_gpu import on_gpu, pretended_gpu
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from diff2i2p_core.cli.main import app
from diff2i2p_core.engine.config_file import read_settings
from diff2i2p_core.engine.geometry_config import GeometryConfig, GeometryPlace, GeometryRooms
from diff2i2p_core.engine.geometry_places import training_places
from diff2i2p_core.engine.geometry_run import GeometryRun, RunPlaces
from diff2i2p_core.engine.geometry_training import GeometryTrainer
from diff2i2p_core.engine.geometry_validation import score_place
from diff2i2p_core.engine.place_renders import place_of_room
from diff2i2p_core.engine.ring_clouds import ring_cloud, up_of
from diff2i2p_core.engine.signals import Stopped
from diff2i2p_core.errors import InputError
from diff2i2p_core.geometry.camera import Camera
from diff2i2p_core.geometry.point_cloud import PointCloud
from diff2i2p_core.geometry.se3 import compose, invert, transform_points
from diff2i2p_core.models.geometry_features import GeometryFeatures
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.pairs.loading import load_batches
from diff2i2p_core.pairs.render_batches import (
    Batch,
    Cut,
    RenderBatches,
    degraded,
    draw_batch,
    shared_in_cuts,
    shared_pixels,
)
from diff2i2p_core.pairs.render_pairs import Place
from diff2i2p_core.rooms.room import camera_path, make_room, write_frames
from diff2i2p_core.weights.geometry import load_geometry


@pytest.fixture(scope="module")
def place() -> Place:
    return place_of_room(101, images=3, views=1)


@pytest.fixture(scope="module")
def posed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    room = make_room(102)
    write_frames(folder, room, Camera(320, 240, 262.5, 262.5, 159.5, 119.5), camera_path(room, 4, 102))
    return folder


def test_shared_pixels_show_the_same_points(place: Place) -> None:
    shared = shared_pixels(place, 1)
    assert len(shared.photo_pixels) > 20_000
    camera = place.camera
    u, v = np.rint(shared.photo_pixels).astype(int).T
    z = place.depths[place.frame_of[1]][v, u].astype(np.float64)
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], axis=1)
    back, _ = camera.project(transform_points(invert(place.image_from_render[1]), points))
    error = np.linalg.norm(back - shared.render_pixels, axis=1)
    assert np.median(error) < 1.0 and np.quantile(error, 0.9) < 3.0


def test_places_are_kept_in_files(place: Place, tmp_path: Path) -> None:
    place.save(tmp_path / "place.safetensors")
    loaded = Place.load(tmp_path / "place.safetensors")
    assert (loaded.renders == place.renders).all() and loaded.camera == place.camera
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a prepared place"):
        Place.load(tmp_path / "broken.safetensors")
    config = GeometryConfig(rooms=GeometryRooms(seeds="101:102", images=2, views=1))
    first, weights = training_places(config, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*")}
    again, _ = training_places(config, tmp_path)
    assert weights == [1.0] and (first[0].renders == again[0].renders).all()
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*")}


def test_degraded_renders_have_no_new_surfaces(place: Place) -> None:
    depth = place.renders[0].astype(np.float32)
    changed = 0
    for seed in range(12):
        worse = degraded(depth, np.random.default_rng(seed))
        assert not worse[depth == 0].any() and np.isfinite(worse).all() and (worse >= 0).all()
        changed += not np.array_equal(worse, depth)
    assert changed >= 4


def test_papered_photos_are_others_and_the_same_each_time(place: Place) -> None:
    plain, papered = (RenderBatches([place], np.ones(1), 2, 60, 3, share)[0] for share in (0.0, 1.0))
    assert plain.photos.shape == papered.photos.shape and not torch.equal(plain.photos, papered.photos)
    again = RenderBatches([place], np.ones(1), 2, 60, 3, 1.0)[0]
    assert torch.equal(papered.photos, again.photos) and torch.isfinite(papered.photos).all()


def test_steps_learn_and_depend_only_on_seed_and_number(place: Place, xfeat_network: XFeat) -> None:
    config = GeometryConfig(steps=40, pairs=2, samples=60, warm_up=2, rooms=GeometryRooms())

    def trainer() -> GeometryTrainer:
        torch.manual_seed(0)
        return GeometryTrainer(GeometryFeatures.from_xfeat(xfeat_network), config)

    batches = RenderBatches([place], np.ones(1), config.pairs, config.samples, seed=0)
    one = trainer()
    losses = [one.train_step(batches[step])["loss"] for step in range(4)]
    state = one.state()
    other = trainer()
    other.load_state(state)
    assert one.train_step(batches[4]) == other.train_step(batches[4])
    losses += [one.train_step(batches[step])["loss"] for step in range(5, 17)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.5


def test_steps_and_scores_on_a_gpu(
    place: Place, xfeat_network: XFeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GeometryConfig(steps=4, pairs=1, samples=50, rooms=GeometryRooms())
    batch = draw_batch([place], np.ones(1), 1, 50, np.random.default_rng(0))
    here = GeometryTrainer(GeometryFeatures.from_xfeat(xfeat_network), config)
    expected, score = here.train_step(batch), score_place(here.average, place, most=1)
    with pretended_gpu(monkeypatch):
        there = GeometryTrainer(GeometryFeatures.from_xfeat(xfeat_network).to("cuda"), config)
        there.average.to("cuda")  # a copy of a pretended tensor forgets where it is
        assert there.train_step(batch) == pytest.approx(expected, rel=1e-4)
        assert all(map(on_gpu, there.average.parameters()))
        assert score_place(there.average, place, most=1).matches == pytest.approx(score.matches, abs=3)


def test_the_shipped_weights_match_an_unseen_room() -> None:
    unseen = place_of_room(20_005, images=3, views=1, clutter=False)
    score = score_place(load_geometry(), unseen, most=3)
    assert score.matches > 100 and score.share > 0.5
    blank = replace(unseen, renders=np.zeros_like(unseen.renders))
    assert score_place(load_geometry(), blank, most=2).matches == 0


def test_processes_make_the_same_batches(place: Place) -> None:
    source = RenderBatches([place], np.ones(1), pairs=1, samples=50, seed=3)
    here = [source[step] for step in (5, 6)]
    beside = list(load_batches(source, [[5], [6]], 2, itemgetter(0)))
    assert len(beside) == 2
    for one, other in zip(here, beside, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_batches_have_the_asked_shapes(place: Place) -> None:
    batch = draw_batch([place], np.ones(1), 2, 50, np.random.default_rng(0))
    assert batch.photos.shape == (2, 1, 192, 256) and batch.channels.shape == (2, 10, 192, 256)
    assert batch.photo_pixels.shape == batch.render_pixels.shape == (2, 50, 2)
    assert torch.isfinite(batch.photos).all() and torch.isfinite(batch.channels).all()


def test_cuts_show_the_same_points_at_other_pixels(place: Place) -> None:
    """In an image of its own columns, a cut's values say which column of the place they show."""
    ramp = np.broadcast_to(np.arange(320, dtype=np.float32), (240, 320)).copy()
    whole = shared_pixels(place, 1)
    column_of = dict(zip(map(tuple, whole.render_pixels.tolist()), whole.photo_pixels[:, 0], strict=True))
    shifts = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        photo, window = Cut.of_photo(place.camera, rng), Cut.of_render(place.camera, rng)
        shared = shared_in_cuts(whole, photo, window)
        assert 0 < len(shared.photo_pixels) < len(whole.photo_pixels)
        u, v = np.rint(shared.photo_pixels).astype(int).T
        moved = shared.render_pixels + np.array([window.left, window.top]).astype(int)
        columns = [column_of[pixel] for pixel in map(tuple, moved.tolist())]
        assert np.abs(photo.image(ramp)[v, u] - columns).max() < 1.5
        of_render = window.image(ramp)[shared.render_pixels[:, 1], shared.render_pixels[:, 0]]
        assert (of_render == moved[:, 0]).all()
        shifts.append(np.median(shared.photo_pixels[:, 0] - shared.render_pixels[:, 0]))
    assert np.ptp(shifts) > 20


def test_a_loss_that_is_not_finite_ends_the_training(place: Place, xfeat_network: XFeat) -> None:
    config = GeometryConfig(steps=4, pairs=1, samples=50, rooms=GeometryRooms(), precision="bf16")
    trainer = GeometryTrainer(GeometryFeatures.from_xfeat(xfeat_network), config)
    batch = draw_batch([place], np.ones(1), 1, 50, np.random.default_rng(0))
    trainer.train_step(batch)
    with torch.no_grad():
        next(trainer.model.shapes.stem.parameters())[0, 0, 0, 0] = torch.inf
    before = [values.clone() for values in trainer.average.parameters()]
    with pytest.raises(InputError, match="not finite at step 1"):
        trainer.train_step(batch)
    assert trainer.step == 1
    assert all((a == b).all() for a, b in zip(before, trainer.average.parameters(), strict=True))


def test_ring_clouds_are_part_of_the_cloud_on_rings() -> None:
    rng = np.random.default_rng(0)
    wall = np.column_stack(
        [np.full(100_000, 3.0), rng.uniform(-2, 2, 100_000), rng.uniform(-1.5, 1.5, 100_000)]
    )
    pose = np.eye(4)
    scan = ring_cloud(
        PointCloud(wall.astype(np.float32)), pose[None].repeat(3, 0), np.array([0, 0, 1.0]), rng
    )
    assert 0 < len(scan) < len(wall)
    assert 0.001 < np.std(scan.points[:, 0] - 3) < 0.05
    elevation = np.degrees(np.arctan2(scan.points[:, 2], np.hypot(scan.points[:, 0], scan.points[:, 1])))
    counts, _ = np.histogram(elevation, np.arange(-24, 24, 0.05))
    assert (counts == 0).mean() > 0.2
    up = up_of(
        np.stack([compose(Rotation.from_euler("x", angle).as_matrix(), np.zeros(3)) for angle in (-0.2, 0.2)])
    )
    np.testing.assert_allclose(up, [0, -1, 0], atol=1e-9)


def test_a_run_writes_weights_and_resumes(
    posed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["geometry", "tune", str(posed_folder), "--out", str(tmp_path / "mine"), "--steps", "2"]
    run = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert run.exit_code == 0 and "last.safetensors" in run.stdout
    assert isinstance(load_geometry(tmp_path / "mine" / "last.safetensors"), GeometryFeatures)
    with pytest.raises(InputError, match="already holds a run"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    longer = [*arguments[:-1], "3", "--resume"]
    assert CliRunner().invoke(app, longer, catch_exceptions=False).exit_code == 0
    validated = GeometryConfig(
        name="validated",
        output=tmp_path,
        steps=1,
        pairs=1,
        samples=50,
        places=(GeometryPlace(folder=posed_folder),),
        validation=(GeometryPlace(folder=posed_folder, views=1),),
        validation_pairs=1,
        start_from="geometry-views",
    )
    training = GeometryRun(validated)
    assert training.train(training.prepare()).name == "best.safetensors"


def test_a_stopped_run_leaves_no_process(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GeometryConfig(
        name="stopped", output=tmp_path, steps=9, pairs=1, samples=50, workers=1, rooms=GeometryRooms(),
        start_from="geometry-views",
    )  # fmt: skip
    step = GeometryTrainer.train_step

    def stopped(trainer: GeometryTrainer, batch: Batch) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, batch)

    monkeypatch.setattr(GeometryTrainer, "train_step", stopped)
    with pytest.raises(Stopped, match="after step 1 of 9"):
        GeometryRun(config).train(RunPlaces([place], [1.0], []))
    assert not multiprocessing.active_children()
    assert (tmp_path / "stopped" / "last.safetensors").is_file()


def test_the_configurations_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFF2I2P_DATA", "/data")
    configs = Path(__file__).parents[2] / "training" / "configs" / "geometry"
    full = read_settings(configs / "views.yaml", ["steps=7"], GeometryConfig)
    held_out = read_settings(configs / "leave-teddy-out.yaml", (), GeometryConfig)
    assert full.steps == 7 and len(full.places) == 6 and sum(place.rings for place in full.places) == 3
    trained, measured = ({place.folder for place in some} for some in (held_out.places, held_out.validation))
    assert measured == {Path("/data/tum_fr3_teddy")} and not trained & measured
    assert not any("hololens" in str(place.folder) for place in full.places)
