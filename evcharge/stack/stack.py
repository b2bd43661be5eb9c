"""All servers of a platform together: up, down, status."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evcharge.coming import forget_coming
from evcharge.errors import UserError
from evcharge.lock import in_turn
from evcharge.settings import Settings
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.errors import StackError
from evcharge.stack.files import private_files
from evcharge.stack.provision import Provisioner
from evcharge.stack.publishing import publish_waiting
from evcharge.stack.servers import FULL_ONLY, LIVE_STORES, SERVERS, STORES, bootstrap, definitions, in_profile, prepare
from evcharge.stack.servers.base import Server
from evcharge.stack.servers.probing import explain
from evcharge.stack.supervisor import Process, Supervisor

POLL_INTERVAL_S = 0.5
#: How long a server may take from its start until it is healthy. Elasticsearch took 125 s with 20 processes for 2 processors.
READY_WITHIN_S = 300
#: How long its process may end again and again before `up` gives it up. supervisord goes on trying.
STARTS_WITHIN_S = 60
LOG_LINES_SHOWN = 15
#: What sends rows and what asks for runs.
SOURCES_OF_RUNS = ("simulation", "dagster-daemon")
#: supervisord's words for a server that it no longer restarts
_GIVEN_UP = ("FATAL", "UNKNOWN")
#: for one that runs
_RUNS = ("RUNNING", "STARTING")
#: and for one on demand that nobody started, or that is done
_NOT_WANTED = ("STOPPED", "EXITED")

Report = Callable[[str, str], None]
"""Called with the name of a server or component and what happens to it."""


@dataclass(frozen=True)
class Step:
    """Something to do while servers start, in a thread of its own: once the servers and steps in `after` are ready."""

    name: str
    after: tuple[str, ...]
    take: Callable[[], None]


def _silent(_name: str, _doing: str) -> None:
    pass


@dataclass(frozen=True)
class Status:
    """A server's state as `stack status` shows it. `memory_mb` counts its whole process tree."""

    service: str
    version: str
    healthy: bool
    port: int
    memory_mb: int
    log: str
    pid: int
    detail: str
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `note` is left out if it is empty."""
        return {name: value for name, value in asdict(self).items() if name != "note" or value}


class Stack:
    """The servers of one platform (one `settings.home`). After `up`, `settings` include the credentials."""

    def __init__(self, settings: Settings, report: Report = _silent) -> None:
        self.settings = settings
        self.report = report

    @property
    def services(self) -> dict[str, Server]:
        return definitions(self.settings)

    def up(self, services: Collection[str] | None = None) -> Settings:
        """Provisions, starts and bootstraps `services` (default: those of the profile that are not on demand).

        Returns the settings with credentials. Leaves alone what runs and is healthy. An interrupted call can simply be
        repeated. Raises StackError.
        """
        with self._locked():
            self.settings = ensure_credentials(self.settings)
            chosen = self._chosen(services)
            with Provisioner(self.settings, self.report) as provisioner:
                provisioner.run(self._own(chosen))
            self._bring_up(chosen)
        return self.settings

    def bring_up(self, services: Collection[str], steps: Sequence[Step] = ()) -> Settings:
        """Starts and bootstraps `services`, which are provisioned; takes the `steps` in between. Otherwise as `up`."""
        with self._locked():
            self.settings = ensure_credentials(self.settings)
            self._bring_up(list(services), steps)
        return self.settings

    def provision(self, services: Collection[str] | None = None) -> None:
        """Downloads and builds what `services` (default: the profile's) need and the cache lacks. Raises StackError."""
        chosen = self._chosen(services) if services else in_profile(self.settings)
        with Provisioner(self.settings, self.report) as provisioner:
            provisioner.run(self._own(chosen))

    def down(self, publish_within_s: float = 0) -> str:
        """Stops every server, first those that need others, and then supervisord. The data stay.

        What waits in Kafka is published before, for at most so many seconds. Returns why not everything is published; empty
        if nothing waits any more, or if nothing should be published or runs.
        """
        if not self.settings.credentials_file.exists():
            return ""
        with self._locked():
            supervisor = Supervisor(self.settings)
            names = [process.name for process in supervisor.processes().values() if process.pid]
            left = ""
            if publish_within_s and names:
                # so that nothing is sent or planned beside it
                supervisor.stop_together([name for name in names if name in SOURCES_OF_RUNS], self.report)
                left = publish_waiting(self.settings, publish_within_s, self.report)
            supervisor.stop_together([name for name in names if name not in SERVERS], self.report)
            supervisor.stop_together([name for name in names if name in SERVERS], self.report)
            supervisor.shutdown()
            forget_coming(self.settings)
        return left

    def clean(self) -> None:
        """Stops everything and removes the platform's data, logs and credentials."""
        self.down()
        shutil.rmtree(self.settings.home, ignore_errors=True)

    def start(self, name: str) -> None:
        """Starts one server and waits until it is healthy."""
        server = self._supervised(name)
        with self._locked():
            supervisor = Supervisor(self.settings)
            if not supervisor.is_running():
                raise StackError("the stack is down; start it with `evcharge stack up`")
            if name in self.left_out():
                raise StackError(f"{name} is not part of this platform, which is small; `make up PROFILE=full` adds it")
            self._start_and_wait(supervisor, [server.name])

    def stop(self, name: str) -> None:
        """Stops one server and waits until it has ended."""
        server = self._supervised(name)
        Supervisor(self.settings).stop_together([server.name], self.report)

    def status(self) -> list[Status]:
        """Probes all servers of the platform at the same time. A server on demand is listed unless it is stopped."""
        processes, left_out = Supervisor(self.settings).processes(), self.left_out()
        shown = [
            server
            for server in self.services.values()
            if server.name not in left_out
            and (not server.on_demand or processes.get(server.name, _ABSENT).state not in _NOT_WANTED)
        ]
        with ThreadPoolExecutor(len(shown)) as pool:
            return list(pool.map(lambda server: self._status(server, processes.get(server.name, _ABSENT)), shown))

    def left_out(self) -> list[str]:
        """The servers that the running platform's profile leaves out. If none runs, that of the settings counts."""
        present = Supervisor(self.settings).processes() or in_profile(self.settings)
        missing = [name for name in FULL_ONLY if name not in present and not self.services[name].external]
        # a full platform that an older version started lacks what is new, whatever its profile
        return missing if set(missing) & LIVE_STORES.keys() else []

    def log(self, name: str) -> Path:
        """The log file of a server."""
        return self.settings.log_dir / f"{name}.log"

    def _chosen(self, services: Collection[str] | None) -> list[str]:
        known = in_profile(self.settings)
        for name in services or ():
            if self.known(name).name not in known:
                raise StackError(f"{name} is not in the profile {self.settings.profile}")
        return [name for name in known if (name in services if services else not known[name].on_demand)]

    def known(self, name: str) -> Server:
        """The server of that name. Raises StackError, which lists all names, if there is none."""
        if name not in self.services:
            raise StackError(f"{name} is not a service; there are {', '.join(self.services)}")
        return self.services[name]

    def _supervised(self, name: str) -> Server:
        server = self.known(name)
        if server.external:
            raise StackError(f"{name} is external: its address is set, so it is neither started nor stopped here")
        return server

    def _own(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if not self.services[name].external}

    def _bring_up(self, names: Sequence[str], steps: Sequence[Step] = ()) -> None:
        own = self._own(names)
        supervisor = Supervisor(self.settings)
        with private_files():
            prepare(self.settings, own)
            supervisor.write_configuration()
            supervisor.ensure_running()
        for name in own:
            if self.services[name].starts_early:
                supervisor.start(name)
        self._start_and_wait(supervisor, names, steps, bootstrapped=STORES)

    def _start_and_wait(
        self,
        supervisor: Supervisor,
        names: Iterable[str],
        steps: Iterable[Step] = (),
        bootstrapped: Collection[str] = (),
    ) -> None:
        """Starts each server as soon as those before it are ready, takes the steps meanwhile, and waits for all.

        A server is ready once it is healthy and, if it is among the `bootstrapped`, has what the platform needs.
        """
        waiting = {name: self.services[name] for name in names}
        todo, running = list(steps), dict[str, Future[None]]()
        started: dict[str, float] = {}
        with ThreadPoolExecutor(8, "step") as pool:
            while waiting or todo or running:
                for name, future in [(name, future) for name, future in running.items() if future.done()]:
                    del running[name]
                    try:
                        future.result()
                    except UserError:
                        raise
                    except Exception as error:
                        # a store that has just started may answer too late: what is there already is left alone
                        if name not in waiting or time.monotonic() - started[name] > READY_WITHIN_S:
                            raise
                        self.report(name, f"not ready yet: {explain(error)}")
                    else:
                        if waiting.pop(name, None):
                            self.report(name, "ready")
                pending = {*waiting, *running, *(step.name for step in todo)}
                for step in [step for step in todo if not pending & set(step.after)]:
                    todo.remove(step)
                    running[step.name] = pool.submit(step.take)
                processes = supervisor.processes() if waiting else {}
                for name in [name for name in waiting if name not in running]:
                    if not self._is_healthy(supervisor, waiting, name, started, processes.get(name, _ABSENT)):
                        continue
                    if name in bootstrapped:
                        self.report(name, "gets what the platform needs")
                        running[name] = pool.submit(bootstrap, self.settings, [name])
                    else:
                        self.report(name, "ready")
                        del waiting[name]
                if waiting or todo or running:
                    time.sleep(POLL_INTERVAL_S)

    def _is_healthy(
        self,
        supervisor: Supervisor,
        waiting: Mapping[str, Server],
        name: str,
        started: dict[str, float],
        process: Process,
    ) -> bool:
        """Whether a server is healthy; starts it if it may start. Raises StackError if it takes too long."""
        server = waiting[name]
        if before := [other for other in server.after if other in waiting]:
            self.report(name, f"waits for {', '.join(before)}")
            return False
        if name not in started:
            starts = not server.external and process.state not in _RUNS
            if starts:
                # may take minutes, which are not the server's
                server.take_along(partial(self.report, name))
            started[name] = time.monotonic()
            if starts:
                supervisor.start(name)
                self.report(name, "starts")
                return False
        problem = self._problem(server, process)
        if problem is None:
            return True
        self.report(name, f"not ready yet: {problem}")
        waited_s = time.monotonic() - started[name]
        fails = process.state in _GIVEN_UP or (process.state == "BACKOFF" and waited_s > STARTS_WITHIN_S)
        if waited_s > READY_WITHIN_S or (fails and not server.external):
            raise StackError(self._failure(server, problem, waited_s))
        return False

    def _problem(self, server: Server, process: Process) -> str | None:
        """Why a server is not healthy; None if it is."""
        if process.state == "EXITED" and not server.restarts_after_success:
            return None
        if not server.external and process.state != "RUNNING":
            return f"its process is {process.state}" + (f" ({process.problem})" if process.problem else "")
        try:
            server.probe()
        except Exception as error:  # each client has its own errors, and each of them means: not healthy
            return explain(error)
        return None

    def _failure(self, server: Server, problem: str, waited_s: float) -> str:
        if server.external:
            return f"{server.name} (external) is not healthy: {problem}"
        log = self.log(server.name)
        tail = "\n".join(f"  | {line}" for line in last_lines(log, LOG_LINES_SHOWN))
        return f"{server.name} did not get healthy in {waited_s:.0f} s: {problem}\nits log {log} ends with\n{tail}"

    def _status(self, server: Server, process: Process) -> Status:
        problem = self._problem(server, process)
        return Status(
            service=server.name,
            version="" if server.external else server.version,
            healthy=problem is None,
            port=server.port,
            memory_mb=tree_memory_mb(process.pid) if process.pid else 0,
            log="" if server.external else str(self.log(server.name)),
            pid=process.pid,
            detail=problem or "healthy",
            note="external" if server.external else server.note,
        )

    def _locked(self) -> AbstractContextManager[None]:
        """Only one command at a time changes a platform."""
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # one that the user made, or that an older version left open
        self.settings.home.chmod(0o700)
        waiting = "waits for another command that is changing this stack"
        return in_turn(self.settings.home / "stack.lock", lambda: self.report("stack", waiting))


_ABSENT = Process("", "STOPPED", 0, "")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a text file; none if it is missing. Reads only its end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - count * 1000))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def tree_memory_mb(pid: int) -> int:
    """Resident memory of a process and its descendants (proc(5)). Shared pages count once per process."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # the command, in brackets, may contain spaces
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                resident[int(folder.name)] = int(fields[21]) * page
    total, todo = 0, [pid]
    while todo:
        process = todo.pop()
        total += resident.get(process, 0)
        todo.extend(children.get(process, ()))
    return total // 1_000_000
