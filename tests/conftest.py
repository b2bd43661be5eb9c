"""Fixtures for every test: a platform of its own, beside whatever runs on this machine."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from evcharge.cli.progress import Progress
from evcharge.connections import spark_session
from evcharge.settings import Settings, load_settings
from evcharge.stack.preflight import OFFSET_STEP, free_offset
from evcharge.stack.servers import SERVERS
from evcharge.stack.stack import Stack

#: Away from the offsets that people choose.
FIRST_OFFSET = 7 * OFFSET_STEP


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--save-interface",
        action="store_true",
        help="save commands, settings, assets, tables and formats as they are now",
    )


@pytest.fixture(scope="session")
def platform() -> Iterator[Settings]:
    """Every server with an empty home and free ports, started once for the whole session and then removed.

    EVCHARGE_HOME and EVCHARGE_PORT_OFFSET are set, so that the commands that a test runs find the same platform.
    """
    home = Path(tempfile.mkdtemp(prefix="evcharge-test-"))
    environment = {name: value for name, value in os.environ.items() if name.startswith("EVCHARGE_")}
    for name in environment.keys() - {"EVCHARGE_CACHE"}:
        del os.environ[name]
    os.environ |= {"EVCHARGE_HOME": str(home), "EVCHARGE_PORT_OFFSET": str(free_offset(FIRST_OFFSET))}
    # so that whoever ends the tests with SIGTERM leaves no servers behind either
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Progress() as progress:
            settings = Stack(load_settings(), progress).up(SERVERS)
            yield settings
            # while its server is there: without it the client would retry for minutes at exit
            spark_session(settings).stop()
    finally:
        Stack(load_settings()).clean()
        signal.signal(signal.SIGTERM, terminate)
        for name in ("EVCHARGE_HOME", "EVCHARGE_PORT_OFFSET"):
            del os.environ[name]
        os.environ |= environment


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
