"""Which processes run first when all processors are busy: drivers' queries, then the live stream, then the rest."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: Niceness of the live stream and of whatever only the stream waits for.
STREAM = 10
#: Niceness of publications, loads and the journal. Nobody waits for them at a screen.
BACKGROUND = 15


def yield_to_others(niceness: int) -> None:
    """Raises the niceness of this thread, and of whatever it starts, to `niceness`. Never lowers it."""
    os.nice(max(niceness - os.nice(0), 0))
    if os.getsid(0) == os.getpid():
        # Linux may first divide the processors among sessions. Niceness then counts only within a session, and the session has
        # a niceness of its own in this file (`man 7 sched`, autogroup). Other systems do not have the file.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))
