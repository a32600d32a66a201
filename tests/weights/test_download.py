"""Fetching published weights from a server on this host: whole, cut off, changed, wrong or missing."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_site import CONTENT, Site, served_file, zipped

from diff2i2p_core.errors import InputError
from diff2i2p_core.weights import archive, download, published
from diff2i2p_core.weights.checkpoint import load_model, resolve_weights
from diff2i2p_core.weights.download import fetch
from diff2i2p_core.weights.published import FOLDER_VARIABLE, PUBLISHED, dataset_of

SEVEN, RGBD = PUBLISHED
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served_file() as site:
        yield site


@pytest.fixture
def any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts files that are not checkpoints."""
    monkeypatch.setattr(download, "load_model", lambda *args, **options: None)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("any_bytes")
def test_a_whole_file_is_kept_with_its_hash_and_not_fetched_twice(site: Site, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    fetched = fetch(SEVEN, url=site.url, progress=lambda *now: told.append(now))
    assert fetched.path == resolve_weights(SEVEN.name) == tmp_path / "weights" / "released-7scenes.pth"
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.new) == (DIGEST, True)
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert names(fetched.path.parent) == {"released-7scenes.pth", "released-7scenes.pth.sha256"}
    assert SEVEN.record.read_text() == f"{DIGEST}  released-7scenes.pth\n"

    assert not fetch(SEVEN, url=site.url).new
    fetched.path.write_bytes(b"changed")
    assert fetch(SEVEN, url=site.url).new
    assert fetched.path.read_bytes() == CONTENT
    assert len(site.ranges) == 2


@pytest.mark.usefixtures("any_bytes")
def test_an_interrupted_download_resumes(site: Site) -> None:
    site.cut = 700_000
    with pytest.raises(InputError, match=r"broke off at 0\.7 of 1\.0 MB; run the same again"):
        fetch(SEVEN, url=site.url)
    assert not SEVEN.path.exists()
    site.cut = None
    assert fetch(SEVEN, url=site.url).sha256 == DIGEST
    assert site.ranges == [None, "bytes=700000-"]


@pytest.mark.usefixtures("any_bytes")
@pytest.mark.parametrize("size", [len(CONTENT), 300_000])
def test_a_file_that_changed_meanwhile_is_fetched_again(site: Site, size: int) -> None:
    site.cut = 700_000
    with pytest.raises(InputError, match="broke off"):
        fetch(SEVEN, url=site.url)
    site.cut, site.etag, site.content = None, '"two"', CONTENT[::-1][:size]
    fetch(SEVEN, url=site.url)
    assert SEVEN.path.read_bytes() == site.content


@pytest.mark.usefixtures("any_bytes")
def test_a_complete_part_file_is_accepted(site: Site) -> None:
    part = SEVEN.path.with_name(f".{SEVEN.path.name}.part")
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    part.with_name(f"{part.name}.tag").write_text(site.etag)
    assert fetch(SEVEN, url=site.url).sha256 == DIGEST


@pytest.mark.usefixtures("any_bytes")
def test_a_wrong_hash_is_refused_and_nothing_is_left(site: Site) -> None:
    known = replace(SEVEN, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(InputError, match=f"SHA-256 {DIGEST} instead of .* was removed"):
        fetch(known, url=site.url)
    assert names(SEVEN.path.parent) == set()
    assert fetch(replace(SEVEN, sha256=DIGEST), url=site.url).new


def test_a_file_that_is_not_a_checkpoint_is_refused(site: Site) -> None:
    with pytest.raises(InputError, match="not a checkpoint of plain tensors"):
        fetch(SEVEN, url=site.url)
    assert names(SEVEN.path.parent) == set()


def test_no_file_no_server_no_address(site: Site) -> None:
    with pytest.raises(InputError, match=r"missing: not found \(404\).*releases/tag/ckpts.*copy of the file"):
        fetch(SEVEN, url=site.url.replace("file.pth", "missing"))
    with pytest.raises(InputError, match=r"cannot be reached \(.*refused\); .* copy of the file"):
        fetch(SEVEN, url="http://127.0.0.1:9/file.pth")
    with pytest.raises(InputError, match="not a download address"):
        fetch(SEVEN, url="file:///etc/hostname")
    with pytest.raises(InputError, match="not fetched yet; run `diff2i2p weights fetch released-7scenes`"):
        load_model(SEVEN.name)


@pytest.mark.usefixtures("any_bytes")
def test_the_release_is_searched_for_the_file_alone_and_then_for_the_archive(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is stood in for by the server, which has only /file.pth."""
    place = site.url.removesuffix("file.pth")
    monkeypatch.setattr(published, "PAGE", f"{place}tag/ckpts")
    with pytest.raises(InputError, match=r"download/ckpts/ckpts\.zip: not found \(404\); find the file on"):
        fetch(SEVEN)
    assert site.ranges == [None, None]
    site.path, site.content = "/download/ckpts/ckpts.zip", zipped({"a/7scenes.pth": CONTENT})
    for weights in (SEVEN, RGBD):
        fetched = fetch(weights)
        assert fetched.path.read_bytes() == CONTENT and fetched.sha256 == DIGEST


@pytest.mark.usefixtures("any_bytes")
def test_the_checkpoint_of_the_benchmark_is_taken_out_of_an_archive(site: Site, tmp_path: Path) -> None:
    other = CONTENT[::-1]
    site.content = zipped(
        {
            "ckpts/readme.txt": b"two",
            "ckpts/7Scenes/epoch-70.pth": CONTENT,
            "ckpts/RGBDv2/epoch-60.pth": other,
            "__MACOSX/ckpts/7Scenes/._epoch-70.pth": b"no",
        }
    )
    assert fetch(SEVEN, url=site.url).path.read_bytes() == CONTENT
    assert fetch(RGBD, url=site.url).path.read_bytes() == other
    assert names(SEVEN.path.parent) == {
        f"{w.name}.pth{suffix}" for w in (SEVEN, RGBD) for suffix in ("", ".sha256")
    }


@pytest.mark.usefixtures("any_bytes")
def test_of_several_checkpoints_one_is_chosen_by_name(site: Site, tmp_path: Path) -> None:
    site.content = zipped({"../../one.pth": CONTENT, "/two.pth": CONTENT[::-1]})
    with pytest.raises(
        InputError, match=r"released-7scenes\.zip: holds \.\./\.\./one\.pth, /two\.pth; .*with `member`"
    ) as raised:
        fetch(SEVEN, url=site.url)
    assert "\n" not in str(raised.value) and not SEVEN.path.exists()
    kept = SEVEN.path.with_suffix(".zip")
    assert fetch(SEVEN, source=kept, member="two.pth").path.read_bytes() == CONTENT[::-1]
    assert fetch(RGBD, source=kept, member="../../one.pth").path.read_bytes() == CONTENT
    assert site.ranges == [None]
    assert not any((tmp_path / name).exists() for name in ("one.pth", "two.pth"))
    assert not (tmp_path.parent / "one.pth").exists()


@pytest.mark.usefixtures("any_bytes")
def test_archives_that_are_not_what_they_say_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    good = zipped({"7scenes.pth": CONTENT})
    at = good.index(b"7scenes.pth") + len(b"7scenes.pth") + 200
    site.content = good[:at] + bytes(40) + good[at + 40 :]
    with pytest.raises(InputError, match="the archive is damaged"):
        fetch(SEVEN, url=site.url)
    site.content = zipped({"readme.txt": b""})
    with pytest.raises(InputError, match=r"holds no \.pth"):
        fetch(SEVEN, url=site.url)
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    site.content = good
    with pytest.raises(InputError, match="too large for weights"):
        fetch(SEVEN, url=site.url)
    assert names(SEVEN.path.parent) == set()


def test_a_real_checkpoint_in_an_archive(site: Site, golden_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "ckpts.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.write(golden_dir / "state_dict_fp16.pth", "ckpts/epoch-40.pth")
    fetch(SEVEN, source=path)
    assert load_model(SEVEN.name).config.name == "released-7scenes"
    assert path.exists()


def test_a_full_disk_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "write_text", full)
    monkeypatch.setattr(download, "_checked", lambda *_: DIGEST)
    with pytest.raises(InputError, match=r"the disk is full; free some space"):
        fetch(SEVEN, url=site.url)


def test_a_name_has_the_settings_of_its_benchmark(site: Site, golden_dir: Path, tmp_path: Path) -> None:
    """A real file of the released format, from a folder without the server, then by name."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "released-rgbd_scenes_v2.pth").symlink_to(golden_dir / "state_dict_fp16.pth")
    assert fetch(RGBD, source=tmp_path / "given").new
    config = load_model(RGBD.name).config
    assert (config.mode, config.matching.coarse_top_k, config.matching.fine_top_k) == ("rgbd", 5, 2)
    assert dataset_of(SEVEN.path) == dataset_of(tmp_path / "own.pth") == "7scenes"
    assert site.ranges == []
    with pytest.raises(InputError, match=r"and no folder with 7scenes\.pth or ckpts\.zip or rel"):
        fetch(SEVEN, source=tmp_path)
