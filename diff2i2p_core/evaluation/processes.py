"""The processes that share a test: one, or those that torchrun or accelerate launch started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from diff2i2p_core.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among `count`. The first one, with index 0, reports."""

    index: int = 0
    count: int = 1
    state: Any = None
    """accelerate's, if there are several."""

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def gather(self, items: list[Item]) -> list[Item]:
        """The items of all processes, in each of them."""
        if self.state is None:
            return items
        from accelerate.utils import gather_object

        return list(gather_object(items))

    def end(self) -> None:
        if self.state is not None:
            self.state.destroy_process_group()


def started_processes(device: str) -> tuple[Processes, str]:
    """This process among those started together, and its device for `device` (cpu, cuda, cuda:1)."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(), device
    if ":" in device:
        raise InputError(f"device {device}: several processes need several devices; give cuda")
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        raise InputError(
            "several processes need accelerate; install the extra 'train' of diff2i2p_core"
        ) from None
    # One process may have the slow pairs, and the others wait for it at the end.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=1))
    own = f"cuda:{state.local_process_index}" if device == "cuda" else device
    return Processes(state.process_index, state.num_processes, state), own
