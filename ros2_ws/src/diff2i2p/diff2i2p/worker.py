"""One thread for the slow work, fed through slots that hold only the newest item."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """Runs `handlers[slot](item)` for items put into slots, one at a time, earlier slots first.

    A new item replaces one that still waits in its slot. So nothing queues up, and work always starts on the
    newest item. A handler's exception is passed to `on_error(slot, error)`; the thread keeps running.
    """

    def __init__(
        self, handlers: dict[str, Callable[[Any], None]], on_error: Callable[[str, Exception], None]
    ) -> None:
        self._handlers = handlers
        self._on_error = on_error
        self._pending: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="diff2i2p worker", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called. A handler that is still running should then publish nothing more."""
        return self._stopped

    def put(self, slot: str, item: Any) -> bool:
        """Whether the item replaced one that still waited."""
        with self._changed:
            replaced = slot in self._pending
            self._pending[slot] = item
            self._changed.notify()
        return replaced

    def discard(self, slot: str) -> None:
        """Forget a waiting item."""
        with self._changed:
            self._pending.pop(slot, None)

    def stop(self, timeout: float) -> None:
        """Take no more items, and wait up to `timeout` seconds for the current work."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopped and not self._pending:
                    self._changed.wait()
                if self._stopped:
                    return
                slot = next(name for name in self._handlers if name in self._pending)
                item = self._pending.pop(slot)
            try:
                self._handlers[slot](item)
            except Exception as error:
                self._on_error(slot, error)
