"""Which map file a request means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from diff2i2p_core.errors import InputError, quoted

SUFFIX = ".map"


def map_path(url: str, folder: Path) -> Path:
    """The file of a path, a `file://` or a `package://` URL, or a name in `folder`, with or without suffix.

    It need not exist. InputError for an empty name and for other kinds of URLs.
    """
    if not url.strip():
        raise InputError("load_map: map_url is empty; give a name or a path")
    scheme, place, path = urlsplit(url)[:3] if "://" in url else ("", "", url)
    if scheme == "package":
        try:
            given = Path(get_package_share_directory(place)) / unquote(path).lstrip("/")
        except (PackageNotFoundError, ValueError, OSError):  # OSError: no ROS is sourced
            raise InputError(f"load_map: no package {quoted(place)} is sourced; give a path") from None
    elif scheme in ("", "file"):
        given = folder / Path(unquote(path) if scheme else path).expanduser()
    else:
        raise InputError(f"load_map: {quoted(url)}: give a name, a path, file:// or package://")
    named = given.with_name(given.name + SUFFIX)
    return named if not given.is_file() and named.is_file() else given
