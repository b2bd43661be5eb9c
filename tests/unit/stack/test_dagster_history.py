"""A home of an older version, with a file per run, is taken along into one file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_home import FILE_PER_RUN, instance_in, log_of, run_hour, run_hours, run_whole, shown

from evcharge.settings import PROJECT, load_settings
from evcharge.stack import dagster_history
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.dagster_history import take_history_along
from evcharge.stack.errors import StackError
from evcharge.stack.servers import prepare
from evcharge.stack.servers.dagster import DagsterCodeServer, dagster_environment

pytestmark = pytest.mark.slow


def quiet(_doing: str) -> None:
    pass


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, list[str]]]:
    """A home of an older version, what its pages showed, and its logs by run."""
    home = tmp_path_factory.mktemp("older") / "dagster"
    with instance_in(home, FILE_PER_RUN) as instance:
        runs = [run_hour(instance, 1), run_hour(instance, 2, fail="yes"), run_whole(instance)]
        runs += [run_hour(instance, 2), run_hour(instance, 3, fail="yes")]
        runs.append(run_hours(instance, "2026-03-02-00:00", "2026-03-02-05:00"))
        return home, shown(instance), {run_id: log_of(instance, run_id) for run_id in runs}


@pytest.fixture
def older(written: tuple[Path, dict[str, Any], dict[str, list[str]]], tmp_path: Path) -> Path:
    shutil.copytree(written[0], tmp_path / "dagster")
    return tmp_path / "dagster"


@pytest.fixture
def pages(written: tuple[Path, dict[str, Any], dict[str, list[str]]]) -> dict[str, Any]:
    return written[1]


@pytest.fixture
def logs(written: tuple[Path, dict[str, Any], dict[str, list[str]]]) -> dict[str, list[str]]:
    return written[2]


def files(home: Path) -> dict[str, bytes]:
    return {str(f.relative_to(home)): f.read_bytes() for f in (home / "history").rglob("*") if f.is_file()}


def test_pages_and_logs_are_taken_along(older: Path, pages: dict[str, Any], logs: dict[str, list[str]]) -> None:
    said: list[str] = []
    take_history_along(older, 7, said.append)
    assert said[0] == "takes its history along: 0 of 6 runs"
    assert said[-1] == "has its history in one file"
    assert sorted(f.name for f in (older / "history").iterdir()) == ["event_log.db", "runs.db"]
    with instance_in(older) as instance:
        assert shown(instance) == pages
        assert shown(instance, cached=False) == pages
        assert {run_id: sorted(log_of(instance, run_id)) for run_id in logs} == {
            run_id: sorted(log) for run_id, log in logs.items()
        }
        for run_id in logs:
            steps = [m for m in log_of(instance, run_id) if "xecution" in m]
            assert steps == [m for m in logs[run_id] if "xecution" in m], "what is not about assets is in its order"
        # and it goes on
        run_hour(instance, 4)
        assert len(shown(instance)["materialized"]) == len(pages["materialized"]) + 1


def test_a_second_time_changes_nothing(older: Path) -> None:
    take_history_along(older, 7, quiet)
    before = files(older)
    said: list[str] = []
    take_history_along(older, 7, said.append)
    assert not said
    assert files(older) == before


def test_a_new_home_has_nothing_to_take_along(tmp_path: Path) -> None:
    take_history_along(tmp_path / "dagster", 7, quiet)
    assert not list(tmp_path.iterdir())


def test_old_logs_of_successes_are_left_behind(older: Path, pages: dict[str, Any], logs: dict[str, list[str]]) -> None:
    take_history_along(older, 0, quiet)
    with instance_in(older) as instance:
        assert shown(instance, cached=False) == pages
        for run in instance.get_runs():
            taken = log_of(instance, run.run_id)
            if run.status == dg.DagsterRunStatus.FAILURE:
                assert sorted(taken) == sorted(logs[run.run_id])
            else:
                assert "a line of the log" in logs[run.run_id]
                assert "a line of the log" not in taken
                assert set(taken) < set(logs[run.run_id])


def test_make_up_takes_it_along_once_the_configuration_is_the_present_one(
    older: Path, pages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ensure_credentials(load_settings(home=older.parent))
    server = DagsterCodeServer(settings)
    before = files(older)
    server.take_along(quiet)
    assert files(older) == before
    prepare(settings, {server.name})
    server.take_along(quiet)
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        assert shown(instance, cached=False) == pages


class Killed(BaseException):
    pass


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool) -> Iterator[None]:
    """The call of that number to a function is the last thing that happens, or does not happen any more."""
    calls, real = [0], getattr(owner, name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        result = real(*arguments, **options)
        if calls[0] == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (dagster_history, "_take_log", 1),
        (dagster_history, "_take_log", 5),
        (dagster_history, "_to_disk", 1),
        (Path, "rename", 1),
        (Path, "rename", 2),
        (shutil, "rmtree", 1),
    ],
)
def test_it_can_be_killed_between_any_two_steps(
    older: Path,
    pages: dict[str, Any],
    logs: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    after: bool,
) -> None:
    with killed_at(monkeypatch, owner, name, call, after=after):
        take_history_along(older, 7, quiet)
    take_history_along(older, 7, quiet)
    assert sorted(f.name for f in (older / "history").iterdir()) == ["event_log.db", "runs.db"]
    with instance_in(older) as instance:
        assert shown(instance, cached=False) == pages
        assert {run_id: len(log_of(instance, run_id)) for run_id in logs} == {r: len(log) for r, log in logs.items()}


def test_it_survives_sigkill(older: Path, pages: dict[str, Any]) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from evcharge.stack import dagster_history as h\n"
        "real = h._take_log\n"
        "def killed(events, file, run_id):\n"
        "    real(events, file, run_id)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "h._take_log = killed; h.take_history_along(Path(sys.argv[1]), 7, print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(older)], env=os.environ | {"PYTHONPATH": str(PROJECT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (older / "history" / "runs" / "index.db").exists()
    take_history_along(older, 7, quiet)
    with instance_in(older) as instance:
        assert shown(instance, cached=False) == pages


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500], ids=["empty", "overwritten"])
def test_a_file_that_cannot_be_read_is_kept(
    older: Path, pages: dict[str, Any], logs: dict[str, list[str]], damage: bytes
) -> None:
    damaged, *others = logs
    (older / "history" / "runs" / f"{damaged}.db").write_bytes(damage)
    take_history_along(older, 7, quiet)
    assert (older / "history" / "unreadable" / f"{damaged}.db").read_bytes() == damage
    with instance_in(older) as instance:
        assert shown(instance, cached=False) == pages
        assert {run_id: len(log_of(instance, run_id)) for run_id in others} == {r: len(logs[r]) for r in others}


def test_a_full_disk_loses_nothing(older: Path, pages: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(older)
    opened = dagster_history._opened

    @contextmanager
    def on_a_small_disk(file: Path) -> Iterator[Any]:
        with opened(file) as connection:
            connection.execute("PRAGMA max_page_count = 60")
            yield connection

    with monkeypatch.context() as small:
        small.setattr(dagster_history, "_opened", on_a_small_disk)
        with pytest.raises(StackError, match=r"cannot be taken along: database or disk is full\. It is complete"):
            take_history_along(older, 7, quiet)
    assert {name: content for name, content in files(older).items() if "unfinished" not in name} == before
    take_history_along(older, 7, quiet)
    with instance_in(older) as instance:
        assert shown(instance, cached=False) == pages
