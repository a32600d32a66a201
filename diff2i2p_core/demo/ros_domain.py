"""ROS domains of this host's demos, live replays and tests: two runs at the same time never share one."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile

DOMAINS = range(1, 102)
"""Their ports lie below Linux' ephemeral ones."""


def claim_domain() -> str:
    """A domain that no other run has claimed, for ROS_DOMAIN_ID. If all are in use, one that is shared."""
    first = os.getpid() % len(DOMAINS)
    for domain in itertools.islice(itertools.cycle(DOMAINS), first, first + len(DOMAINS)):
        try:
            lock = os.open(f"{tempfile.gettempdir()}/diff2i2p-domain-{domain}", os.O_CREAT | os.O_RDWR)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
            return str(domain)
        except OSError:
            os.close(lock)
    return str(DOMAINS[first])
