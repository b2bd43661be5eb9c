"""Which processes go first where the processors are all busy: drivers' questions, then what answers them the freshest."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Niceness of the live stream and of what only it waits for.
STREAM = 10
#: Of publications, loads and the journal: nobody waits for them at a screen.
BACKGROUND = 15


def yield_to_others(niceness: int) -> None:
    """Raises this thread's niceness, and that of what it starts, to `niceness`; never lowers it.

    Whoever leads a session on Linux yields for all of it, and at once to whoever wakes up.
    """
    os.nice(max(niceness - os.nice(0), 0))
    if os.getsid(0) == os.getpid() and sessions_share_processors():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
            # the session keeps its share, but Linux takes a processor that runs nothing else for a free one: a search that
            # wakes up goes there, and not behind another of Elasticsearch's threads
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def sessions_share_processors() -> bool:
    """Whether Linux shares the processors out among sessions first, niceness counting within one (`man 7 sched`, autogroup)."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    return False
