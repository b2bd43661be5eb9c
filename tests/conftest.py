"""Fixtures for every test: a platform for the tests alone, beside whatever runs on this machine, and its lake."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import hypothesis
import pytest
from servers import KEPT_HOME, clean_command, platform_for_tests, running_offset

from evcharge.settings import Settings

if TYPE_CHECKING:
    from support import Lake

KEEP = "--keep-platform"
FUZZ_ROUNDS = "--fuzz-rounds"

# how long an example takes says how busy the machine is
hypothesis.settings.register_profile("evcharge", deadline=None)
hypothesis.settings.load_profile("evcharge")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--save-interface",
        action="store_true",
        help="save commands, settings, assets, tables and formats as they are now",
    )
    parser.addoption(
        KEEP,
        action="store_true",
        help="run on the servers that an earlier run with this option left running, start them if there are none, "
        "and leave them running",
    )
    parser.addoption(
        FUZZ_ROUNDS,
        type=int,
        default=1,
        help="rounds of generated messages; one round is always the same, more are new ones in each run",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption(KEEP) and running_offset(KEPT_HOME) is not None:
        for item in items:
            if item.get_closest_marker("new_platform"):
                item.add_marker(pytest.mark.skip(reason="needs a platform on which no test ran before"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption(KEEP) and (offset := running_offset(KEPT_HOME)) is not None:
        terminalreporter.section("servers left running")
        terminalreporter.write_line(clean_command(KEPT_HOME, offset))


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> Iterator[None]:
    """An instance of Dagster that is entered twice stays the current one after its end, and loading definitions asks it."""
    with ExitStack() as stack:
        if "dagster" in sys.modules:
            from dagster._core.storage.defs_state.base import set_defs_state_storage

            stack.enter_context(set_defs_state_storage(None))
        yield


@pytest.fixture(scope="session")
def platform(pytestconfig: pytest.Config) -> Iterator[Settings]:
    """Every server, started once for the whole session and then removed; with --keep-platform left running."""
    with platform_for_tests(keep=pytestconfig.getoption(KEEP)) as settings:
        yield settings


@pytest.fixture(scope="session")
def lake(platform: Settings) -> Lake:
    # not above: it imports Spark and every client, which takes seconds that unit tests do not need
    from support import Lake

    return Lake(platform)
