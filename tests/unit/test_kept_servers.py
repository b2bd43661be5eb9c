"""Servers that stay from one run of the tests to the next: when they are used again, replaced, left and removed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path

import pytest
import servers
from servers import clean_command, code_is_newer, platform_for_tests, running_offset, write_offset

from evcharge.lock import only_one
from evcharge.settings import Settings, load_settings
from evcharge.stack.errors import StackError
from evcharge.stack.supervisor import Supervisor

FREE_OFFSET = 14_000
OTHER_OFFSET = 9_000


class Machine:
    """Replaces the stack and Spark's session: it notes the calls and starts nothing."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.runs = False
        self.fails = False

    def stack(self, settings: Settings, _report: object = None) -> _Stack:
        return _Stack(self, settings)


class _Stack:
    def __init__(self, machine: Machine, settings: Settings) -> None:
        self.machine, self.settings = machine, settings

    def up(self, _services: Collection[str]) -> Settings:
        self.machine.done.append(f"up at {self.settings.port_offset}")
        if self.machine.fails:
            raise StackError("kafka did not get healthy")
        self.machine.runs = True
        return self.settings

    def stop(self, name: str) -> None:
        self.machine.done.append(f"stop {name}")

    def clean(self) -> None:
        self.machine.done.append("clean")
        self.machine.runs = False
        (self.settings.home / "port-offset").unlink(missing_ok=True)


class _Session:
    def stop(self) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(servers, "KEPT_HOME", home)
    monkeypatch.setattr(servers, "Stack", machine.stack)
    monkeypatch.setattr(servers, "spark_session", lambda _settings: _Session())
    monkeypatch.setattr(servers, "free_offset", lambda _start: FREE_OFFSET)
    monkeypatch.setattr(servers, "code_is_newer", lambda _home: False)
    monkeypatch.setattr(Supervisor, "is_running", lambda _self: machine.runs)
    return machine


def test_without_the_option_a_run_has_servers_of_its_own_and_removes_them(machine: Machine, home: Path) -> None:
    with platform_for_tests(keep=False) as settings:
        assert settings.home != home
        assert settings.port_offset == FREE_OFFSET
    assert machine.done == ["clean", f"up at {FREE_OFFSET}", "clean"]
    settings.home.rmdir()


def test_the_first_run_starts_servers_and_the_next_uses_them(
    machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with platform_for_tests(keep=True) as settings:
        assert (settings.home, settings.port_offset) == (home, FREE_OFFSET)
    assert machine.done == ["clean", f"up at {FREE_OFFSET}"]
    machine.done.clear()
    # their ports are theirs: another offset would be free now
    monkeypatch.setattr(servers, "free_offset", lambda _start: OTHER_OFFSET)
    with platform_for_tests(keep=True) as settings:
        assert (settings.home, settings.port_offset) == (home, FREE_OFFSET)
    assert machine.done == [f"up at {FREE_OFFSET}"]


def test_servers_stay_after_a_test_that_fails(machine: Machine) -> None:
    with pytest.raises(ZeroDivisionError), platform_for_tests(keep=True):
        raise ZeroDivisionError
    assert machine.done == ["clean", f"up at {FREE_OFFSET}"]


def test_dead_servers_are_replaced_by_new_ones(machine: Machine, home: Path) -> None:
    write_offset(home, OTHER_OFFSET)
    with platform_for_tests(keep=True) as settings:
        assert settings.port_offset == FREE_OFFSET
    assert machine.done == ["clean", f"up at {FREE_OFFSET}"]
    assert running_offset(home) == FREE_OFFSET


def test_new_servers_that_do_not_start_are_removed(machine: Machine) -> None:
    machine.fails = True
    with pytest.raises(StackError, match="kafka"), platform_for_tests(keep=True):
        pass
    assert machine.done == ["clean", f"up at {FREE_OFFSET}", "clean"]


def test_servers_that_ran_before_and_do_not_get_healthy_are_left_with_their_logs(machine: Machine, home: Path) -> None:
    write_offset(home, OTHER_OFFSET)
    machine.runs = machine.fails = True
    with pytest.raises(StackError, match="kafka"), platform_for_tests(keep=True):
        pass
    assert machine.done == [f"up at {OTHER_OFFSET}"]


def test_spark_starts_again_with_code_that_changed(
    machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_offset(home, OTHER_OFFSET)
    machine.runs = True
    monkeypatch.setattr(servers, "code_is_newer", lambda _home: True)
    with platform_for_tests(keep=True):
        pass
    assert machine.done == ["stop spark-connect", f"up at {OTHER_OFFSET}"]


def test_two_runs_do_not_share_the_servers(machine: Machine, home: Path) -> None:
    with (
        only_one(home.with_name("kept.lock"), StackError("unused")),
        pytest.raises(StackError, match="another run of the tests"),
        platform_for_tests(keep=True),
    ):
        pass
    assert machine.done == []


def test_settings_of_the_user_are_out_of_the_way_meanwhile(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVCHARGE_PROFILE", "small")
    monkeypatch.setenv("EVCHARGE_PORT_OFFSET", "500")
    before = dict(os.environ)
    with platform_for_tests(keep=True) as settings:
        assert load_settings().port_offset == settings.port_offset == FREE_OFFSET
        assert settings.profile == "full"
    assert dict(os.environ) == before


@pytest.mark.parametrize("text", [None, "", "no number"])
def test_without_a_readable_offset_nothing_runs(machine: Machine, home: Path, text: str | None) -> None:
    machine.runs = True
    if text is not None:
        home.mkdir()
        (home / "port-offset").write_text(text)
    assert running_offset(home) is None


def test_an_offset_without_a_supervisor_is_that_of_dead_servers(home: Path) -> None:
    write_offset(home, OTHER_OFFSET)
    assert running_offset(home) is None


def test_code_is_newer_once_a_module_changed(home: Path, tmp_path: Path) -> None:
    module = tmp_path / "evcharge" / "lake" / "judge.py"
    module.parent.mkdir(parents=True)
    module.touch()
    write_offset(home, OTHER_OFFSET)
    noted = (home / "port-offset").stat().st_mtime
    os.utime(module, (noted - 1, noted - 1))
    assert not code_is_newer(home, tmp_path)
    os.utime(module, (noted + 1, noted + 1))
    assert code_is_newer(home, tmp_path)


def test_the_command_that_removes_the_servers_survives_blanks() -> None:
    words = shlex.split(clean_command(Path("/my work/.evcharge-test"), OTHER_OFFSET))
    assert words[:2] == ["EVCHARGE_HOME=/my work/.evcharge-test", f"EVCHARGE_PORT_OFFSET={OTHER_OFFSET}"]
    assert Path(words[2]).name == "evcharge"
    assert words[3:] == ["stack", "clean", "--yes"]
