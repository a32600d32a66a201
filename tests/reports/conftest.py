"""A viser server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def server(unused_port: int) -> Iterator[Any]:
    pytest.importorskip("viser", reason="needs the extra 'viz' (viser)")
    from diff2i2p_core.cli import view as command

    started = command.start_server("127.0.0.1", unused_port)
    yield started
    started.stop()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
