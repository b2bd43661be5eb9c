"""Starts servers' programs that a disk without a byte left would stop for good. It stands before the program's own command.

`python -m evcharge.stack.full_disk restart FOLDER COMMAND…` is for a program that fails in every answer once its disk was full.
A child of it ends the program when there is room again, and supervisord starts it anew.

`python -m evcharge.stack.full_disk without-blank FOLDER COMMAND…` deletes the segments of Cassandra's commit log that have
nothing but zeros, which it had no room to begin and does not start with. Both then become the program.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

LOOK_EVERY_S = 2.0
FULL_BYTES = 5_000_000
ROOM_BYTES = 100_000_000
_PIECE_BYTES = 1 << 20


def end_after_full(folder: Path, program: int) -> None:
    """Ends the process `program`, this one's parent, when the disk was full and has room again. Returns when it has ended."""
    was_full = False
    while os.getppid() == program:
        free = shutil.disk_usage(folder).free
        was_full = was_full or free < FULL_BYTES
        if was_full and free > ROOM_BYTES:
            print("the disk was full, and has room again: the program starts anew", file=sys.stderr, flush=True)
            os.kill(program, signal.SIGTERM)
            return
        time.sleep(LOOK_EVERY_S)


def delete_blank(folder: Path) -> list[Path]:
    """Deletes the commit log's segments that have nothing but zeros, and returns them."""
    blank = [file for file in sorted(folder.glob("CommitLog-*.log")) if _is_blank(file)]
    for file in blank:
        print(f"deleted {file}, which has nothing but zeros", file=sys.stderr, flush=True)
        file.unlink()
    return blank


def _is_blank(file: Path) -> bool:
    with file.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            if piece.count(0) < len(piece):
                return False
    return True


def main() -> None:
    what, folder, *command = sys.argv[1:]
    if what == "restart":
        program = os.getpid()
        if os.fork() == 0:
            end_after_full(Path(folder), program)
            return
    else:
        delete_blank(Path(folder))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
