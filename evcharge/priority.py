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
    """Raises this thread's niceness, and that of what it starts, to `niceness`; never lowers it."""
    os.nice(max(niceness - os.nice(0), 0))
    if os.getsid(0) == os.getpid():
        # Linux can share the processors out among sessions first, and niceness then counts only within one (`man 7 sched`,
        # autogroup); where it does not, or on another system, there is no such file
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
