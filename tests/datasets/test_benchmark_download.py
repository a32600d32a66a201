"""`prepare download`: resumed, checked, unpacked safely, from a server on this host."""

from __future__ import annotations

import json
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from file_site import Site, served_file, zipped

from diff2i2p_core.cli.main import run
from diff2i2p_core.datasets.benchmark_download import fetch_benchmark, unpack_archive
from diff2i2p_core.datasets.check import published_counts
from diff2i2p_core.errors import InputError
from diff2i2p_core.pairs.metadata import read_metadata


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served_file() as site:
        yield site


def benchmark_files(prefix: str = "7Scenes/") -> dict[str, bytes]:
    """One pair in each subset; the second of the test subset has too little overlap."""
    files = {f"{prefix}readme.txt": b"not unpacked", f"{prefix}data/chess/camera-intrinsics.txt": b"1"}
    for subset, overlaps in (("train", [0.9]), ("val", [0.9]), ("test", [0.9, 0.1])):
        lines = []
        for number, overlap in enumerate(overlaps):
            names = {
                "image_file": f"chess/seq-01/color_{subset}{number}.png",
                "depth_file": f"chess/seq-01/depth_{subset}{number}.png",
                "cloud_file": f"chess/seq-01/cloud_{subset}{number}.npy",
            }
            files |= {f"{prefix}data/{name}": name.encode() * 500 for name in names.values()}
            pose = np.eye(4).tolist()
            lines.append(
                json.dumps({"scene_name": "chess", **names, "overlap": overlap, "cloud_to_image": pose})
            )
        files[f"{prefix}metadata/{subset}-full.jsonl"] = "\n".join(lines).encode()
    return files


def test_a_benchmark_is_downloaded_and_unpacked_once(site: Site, tmp_path: Path) -> None:
    site.content = zipped(benchmark_files())
    seen: list[tuple[int, int | None]] = []
    unpacked: list[tuple[int, int]] = []
    pairs = fetch_benchmark(
        "7scenes",
        tmp_path,
        url=site.url,
        downloading=lambda *now: seen.append(now),
        unpacking=lambda *now: unpacked.append(now),
    )
    assert {name: len(entries) for name, entries in pairs.items()} == {"train": 1, "val": 1, "test": 2}
    assert [entry.name for entry in read_metadata(tmp_path, "7scenes", "val")] == ["chess/01-val0_01-val0"]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "metadata"}
    assert seen[-1] == (len(site.content), len(site.content)) and unpacked[-1] == (16, 16)
    assert published_counts("7scenes", pairs) == [
        "train: 1 pairs, the papers have 4048",
        "val: 1 pairs, the papers have 1011",
        "test: 1 pairs, the papers have 2304",
    ]
    fetch_benchmark("7scenes", tmp_path, url=site.url)
    assert len(site.ranges) == 1


@pytest.mark.parametrize("cut_in", ["download", "unpacking"])
def test_what_was_interrupted_resumes(
    site: Site, tmp_path: Path, cut_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.content = zipped(benchmark_files())
    if cut_in == "download":
        site.cut = 2000
        with pytest.raises(InputError, match=r"broke off at 0\.0 of 0\.0 MB; run the same again"):
            fetch_benchmark("7scenes", tmp_path, url=site.url)
        site.cut = None
    else:
        unpack_archive(written(tmp_path, site.content), tmp_path)
        (tmp_path / "data/chess/seq-01/color_val0.png").unlink()
        (tmp_path / "data/chess/seq-01/depth_val0.png").write_bytes(b"cut off")
    kept = tmp_path / "data/chess/seq-01/color_test0.png"
    before = kept.stat().st_mtime_ns if kept.exists() else None
    unpacked: list[tuple[int, int]] = []
    fetch_benchmark("7scenes", tmp_path, url=site.url, unpacking=lambda *now: unpacked.append(now))
    assert site.ranges == ([None, "bytes=2000-"] if cut_in == "download" else [])
    assert len(unpacked) == (16 if cut_in == "download" else 2) and unpacked[-1] == (16, 16)
    assert before in (None, kept.stat().st_mtime_ns)
    for name, content in benchmark_files("").items():
        assert name == "readme.txt" or (tmp_path / name).read_bytes() == content


def written(folder: Path, content: bytes) -> Path:
    path = folder / "7Scenes.zip"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("prefix", ["", "7Scenes/", "a/b/7Scenes/"])
def test_the_benchmark_may_be_anywhere_in_its_archive(tmp_path: Path, prefix: str) -> None:
    extra = {"__MACOSX/7Scenes/metadata/._x": b"", f"{prefix}extra/notes.txt": b""}
    archive = written(tmp_path, zipped(benchmark_files(prefix) | extra))
    fetch_benchmark("7scenes", tmp_path / "out", source=archive)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data", "metadata"}
    assert archive.exists()


@pytest.mark.parametrize("name", ["../escaped.txt", "/escaped.txt", "7Scenes/data/../../../x", "a\\..\\b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = written(tmp_path, zipped(benchmark_files() | {name: b"x"}))
    with pytest.raises(InputError, match="leads out of it; do not use this archive"):
        unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    archive = written(tmp_path, zipped(benchmark_files()))
    link = zipfile.ZipInfo("7Scenes/data/chess/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="'7Scenes/data/chess/link' leads out of it"):
        unpack_archive(archive, tmp_path / "out")


def test_archives_that_are_not_a_whole_benchmark_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped(benchmark_files())
    at = content.index(b"color_val0.png") + 30
    with pytest.raises(InputError, match=r"7Scenes\.zip: damaged"):
        unpack_archive(written(tmp_path, content[:at] + b"?" * 20 + content[at + 20 :]), tmp_path / "out")
    with pytest.raises(InputError, match=r"7Scenes\.zip: damaged, or not a zip archive"):
        unpack_archive(written(tmp_path, content[:-50]), tmp_path / "out")
    with pytest.raises(InputError, match="holds no folder 'metadata'"):
        unpack_archive(written(tmp_path, zipped({"data/x": b""})), tmp_path / "out")
    with pytest.raises(InputError, match="holds several folders 'metadata'"):
        unpack_archive(
            written(tmp_path, zipped({"a/metadata/x": b"", "b/metadata/x": b""})), tmp_path / "out"
        )
    lacking = {name: data for name, data in benchmark_files().items() if "cloud_val0" not in name}
    with pytest.raises(InputError, match=r"cloud_val0\.npy: no such file \(1 of"):
        fetch_benchmark("7scenes", tmp_path / "new", source=written(tmp_path, zipped(lacking)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"GB unpacked, but .* has 0\.0 GB free"):
        unpack_archive(written(tmp_path, content), tmp_path / "other")


def test_the_command(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diff2i2p", "prepare", "download", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    site.content = zipped(benchmark_files())
    status, out, err = command("7scenes", tmp_path / "out", "--url", site.url, "--keep")
    assert status == 0, err
    assert "out: 7-Scenes\n" in out and "test: 1 pairs, the papers have 2304" in out
    assert (tmp_path / "out" / "7Scenes.zip").exists()
    for arguments, words in (
        (("kitti", tmp_path / "k"), "'kitti': no published pairs; use one of 7scenes, rgbd_scenes_v2"),
        (("7scenes", tmp_path / "k", "--url", site.url + "x"), "not found (404)"),
        (("7scenes", tmp_path / "k", "--url", site.url, "--from", tmp_path), "give one"),
        (("7scenes", tmp_path / "k", "--from", tmp_path / "none.zip"), "none.zip"),
        (("7scenes", tmp_path, "--from", tmp_path / "data" / "7Scenes.zip"), "is an input"),
    ):
        status, out, err = command(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and words in err
