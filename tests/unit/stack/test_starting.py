"""In which order servers start, get what the platform needs and are ready; and what is part of the first look."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from evcharge.components import Go
from evcharge.settings import Settings, load_settings
from evcharge.stack import stack as module
from evcharge.stack.errors import StackError
from evcharge.stack.first_look import first_look_servers, provision_in_order, start_what_is_fetched
from evcharge.stack.provision import Provisioner
from evcharge.stack.servers import in_profile
from evcharge.stack.servers.base import Server
from evcharge.stack.stack import Stack, Step
from evcharge.stack.supervisor import Process


class Machine:
    """Replaces supervisord and the servers' probes: a server is healthy once it was probed `probes` times."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.probes: dict[str, int] = {}
        self.states: dict[str, str] = {}

    def start(self, name: str) -> None:
        self.done.append(f"start {name}")
        self.states.setdefault(name, "RUNNING")

    def processes(self) -> dict[str, Process]:
        return {name: Process(name, state, 1, "") for name, state in self.states.items()}

    def probe(self, server: Server) -> None:
        self.probes[server.name] = self.probes.get(server.name, 0) - 1
        if self.probes[server.name] > 0:
            raise ConnectionRefusedError("nobody listens")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.001)
    monkeypatch.setattr(module, "READY_WITHIN_S", 5)
    monkeypatch.setattr(module, "bootstrap", lambda _settings, names: found.done.append(f"bootstrap {names[0]}"))
    for server in in_profile(load_settings()).values():
        monkeypatch.setattr(type(server), "probe", lambda server: found.probe(server))
    return found


@pytest.fixture
def bring_up(machine: Machine, tmp_path: Path) -> Callable[..., list[str]]:
    """Brings servers up; returns what was done, in order."""

    def up(*names: str, steps: tuple[Step, ...] = (), bootstrapped: tuple[str, ...] = ()) -> list[str]:
        stack = Stack(load_settings(home=tmp_path), lambda name, doing: note(name, doing))
        stack._start_and_wait(machine, names, steps, bootstrapped)  # type: ignore[arg-type]
        return machine.done

    def note(name: str, doing: str) -> None:
        if doing == "ready":
            machine.done.append(f"ready {name}")

    return up


def test_a_server_starts_after_those_before_it_have_what_the_platform_needs(
    bring_up: Callable[..., list[str]], machine: Machine
) -> None:
    machine.probes["minio"] = 3
    done = bring_up("lakefs", "minio", "elasticsearch", bootstrapped=("minio", "lakefs"))
    assert done.index("bootstrap minio") < done.index("ready minio") < done.index("start lakefs")
    assert done.index("start elasticsearch") < done.index("ready minio")
    assert "bootstrap elasticsearch" not in done
    assert done[-2:] == ["bootstrap lakefs", "ready lakefs"]


def test_what_an_older_version_left_is_taken_along_before_the_start(
    bring_up: Callable[..., list[str]], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "take_along", lambda server, report: machine.done.append(f"take {server.name}"))
    machine.states["minio"] = "RUNNING"
    assert bring_up("kafka", "minio")[:2] == ["take kafka", "start kafka"]
    assert "take minio" not in machine.done


def test_a_step_is_taken_once_what_it_needs_is_ready(bring_up: Callable[..., list[str]], machine: Machine) -> None:
    machine.probes["elasticsearch"] = 50
    steps = (
        Step("feed", ("kafka", "day"), lambda: machine.done.append("feed")),
        Step("day", ("kafka", "mongodb"), lambda: machine.done.append("day")),
    )
    done = bring_up("kafka", "elasticsearch", steps=steps)
    # it does not wait for Elasticsearch, and mongodb is not among the servers that start
    assert [what for what in done if not what.startswith("start")] == [
        *("ready kafka", "day", "feed", "ready elasticsearch"),
    ]


def test_a_step_that_fails_is_an_error(bring_up: Callable[..., list[str]]) -> None:
    def fail() -> None:
        raise StackError("the day cannot be simulated")

    with pytest.raises(StackError, match="the day cannot be simulated"):
        bring_up("kafka", steps=(Step("day", ("kafka",), fail),))


def test_a_store_that_answers_too_late_gets_what_the_platform_needs_once_more(
    bring_up: Callable[..., list[str]], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bootstrap(_settings: Settings, names: list[str]) -> None:
        machine.done.append("bootstrap")
        if machine.done.count("bootstrap") == 1:
            raise TimeoutError("no replica answered")

    monkeypatch.setattr(module, "bootstrap", bootstrap)
    assert bring_up("cassandra", bootstrapped=("cassandra",))[1:] == ["bootstrap", "bootstrap", "ready cassandra"]
    monkeypatch.setattr(module, "READY_WITHIN_S", -1)
    machine.done.clear()
    with pytest.raises(TimeoutError):
        bring_up("cassandra", bootstrapped=("cassandra",))


def test_a_stream_that_was_relieved_is_no_server_that_fails(
    bring_up: Callable[..., list[str]], machine: Machine
) -> None:
    machine.states = {"stream": "EXITED", "kafka": "FATAL"}
    assert bring_up("stream")[-1] == "ready stream"
    with pytest.raises(StackError, match="kafka did not get healthy"):
        bring_up("kafka")


def test_a_server_whose_process_ends_again_and_again_is_given_up(
    bring_up: Callable[..., list[str]], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.states = {"kafka": "BACKOFF"}
    monkeypatch.setattr(module, "STARTS_WITHIN_S", 0.05)
    with pytest.raises(StackError, match=r"kafka did not get healthy in 0 s: its process is BACKOFF"):
        bring_up("kafka")


def test_the_first_look_needs_nothing_that_is_built_from_source() -> None:
    settings = load_settings(profile="full")
    first = first_look_servers(settings)
    assert {"kafka", "elasticsearch", "mongodb", "dashboard"} <= set(first)
    assert not any(
        server.component is not None and isinstance(server.component.source, Go)
        for name, server in in_profile(settings).items()
        if name in first
    )
    assert first_look_servers(load_settings(profile="small")) == []


class Recorder(Provisioner):
    """Notes which services are asked for, and starts nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, lambda _name, _doing: None)
        self.asked: list[tuple[str, set[str]]] = []

    def run(self, services: object) -> None:
        self.asked.append(("waits for", set(services)))  # type: ignore[call-overload]

    def begin(self, services: object) -> list[Future[None]]:
        self.asked.append(("begins", set(services)))  # type: ignore[call-overload]
        return []

    def wait(self, lanes: object = None) -> None:
        self.asked.append(("waits for downloads", set()))


def test_builds_begin_at_once_and_other_downloads_after_those_of_the_first_look(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, profile="full")
    recorder = Recorder(settings)
    provision_in_order(settings, recorder)
    (built, first, rest) = recorder.asked
    assert built == ("begins", {"minio", "lakefs"})
    assert first[0] == "waits for"
    assert {"kafka", "elasticsearch", "stream", "dashboard"} <= first[1]
    assert rest[0] == "begins"
    assert {"cassandra", "clickhouse", "spark-connect"} <= rest[1]
    assert built[1] | first[1] | rest[1] == set(in_profile(settings))


def test_what_is_fetched_starts_while_the_builds_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(load_settings(home=tmp_path, profile="full"))
    recorder, started = Recorder(stack.settings), list[str]()
    monkeypatch.setattr(Stack, "bring_up", lambda _self, names: started.extend(names))
    start_what_is_fetched(stack, recorder, [])
    assert recorder.asked == [("waits for downloads", set())]
    assert {"cassandra", "clickhouse", "spark-connect"} <= set(started)
    # Dagster needs the lake, and its daemon needs Dagster
    assert not {"minio", "lakefs", "dagster-code", "dagster-webserver", "dagster-daemon", "simulation"} & set(started)
