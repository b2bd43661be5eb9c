"""The servers that tests run on: new ones for each run of pytest, or ones that stay up from run to run.

Servers that stay are in this checkout's `.evcharge-test`, so that another checkout has servers of its own. A file there
holds their port offset. Whatever removes the folder, as `evcharge stack clean` does, removes that file too.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from evcharge.cli.progress import Progress
from evcharge.connections import spark_session
from evcharge.lock import only_one
from evcharge.settings import PROJECT, Settings, load_settings
from evcharge.stack.errors import StackError
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.servers import SERVERS
from evcharge.stack.stack import Stack
from evcharge.stack.supervisor import Supervisor

#: The home of the servers that stay.
KEPT_HOME = PROJECT / ".evcharge-test"
#: Away from the offsets that people choose.
FIRST_OFFSET = 7 * OFFSET_STEP
_OFFSET_FILE = "port-offset"
#: Spark's Python workers import these packages and live on after the run.
_SPARK_CODE = ("evcharge", "simulation")


@contextmanager
def platform_for_tests(*, keep: bool) -> Iterator[Settings]:
    """Every server, healthy. `keep` uses the servers that stay and starts them if they do not run.

    EVCHARGE_HOME and EVCHARGE_PORT_OFFSET are set meanwhile, so that the commands that a test runs find the same
    platform. Raises StackError, also if another run of pytest uses the servers that stay. Servers that ran before and do
    not get healthy are left as they are, with their logs.
    """
    home = KEPT_HOME if keep else Path(tempfile.mkdtemp(prefix="evcharge-test-"))
    refusal = StackError(f"another run of the tests uses {home}")
    with only_one(home.with_name(f"{home.name}.lock"), refusal) if keep else nullcontext():
        yield from _platform(home, keep=keep)


def _platform(home: Path, *, keep: bool) -> Iterator[Settings]:
    environment = {name: value for name, value in os.environ.items() if name.startswith("EVCHARGE_")}
    for name in environment.keys() - {"EVCHARGE_CACHE"}:
        del os.environ[name]
    running = running_offset(home)
    offset = free_offset(FIRST_OFFSET) if running is None else running
    os.environ |= {"EVCHARGE_HOME": str(home), "EVCHARGE_PORT_OFFSET": str(offset)}
    # SIGTERM, too, must leave no servers behind
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    stays = running is not None
    try:
        with Progress() as progress:
            stack = Stack(load_settings(), progress)
            if running is None:
                # what dead servers left: their data may be half written, and somebody may have taken their ports
                stack.clean()
                write_offset(home, offset)
            elif code_is_newer(home):
                stack.stop("spark-connect")
                write_offset(home, offset)
            settings = stack.up(SERVERS)
            stays = keep
            yield settings
            # while its server is there: without it the client would retry for minutes at exit
            spark_session(settings).stop()
    finally:
        if not stays:
            Stack(load_settings()).clean()
        signal.signal(signal.SIGTERM, terminate)
        for name in ("EVCHARGE_HOME", "EVCHARGE_PORT_OFFSET"):
            del os.environ[name]
        os.environ |= environment


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running_offset(home: Path) -> int | None:
    """The port offset of the servers that run in `home`; None if none do."""
    try:
        offset = int((home / _OFFSET_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return offset if Supervisor(load_settings(home=home)).is_running() else None


def write_offset(home: Path, offset: int) -> None:
    """Notes where the servers are. The file's time says when Spark last took over the code."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / _OFFSET_FILE).write_text(f"{offset}\n")


def code_is_newer(home: Path, project: Path = PROJECT) -> bool:
    """Whether a module changed since the servers in `home` were last started or reused."""
    since = (home / _OFFSET_FILE).stat().st_mtime
    return any(path.stat().st_mtime > since for name in _SPARK_CODE for path in (project / name).rglob("*.py"))


def clean_command(home: Path, offset: int) -> str:
    """The line for a shell that ends the servers in `home` and removes their data."""
    evcharge = shlex.quote(str(Path(sys.executable).with_name("evcharge")))
    return f"EVCHARGE_HOME={shlex.quote(str(home))} EVCHARGE_PORT_OFFSET={offset} {evcharge} stack clean --yes"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
