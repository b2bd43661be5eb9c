"""The platform's servers as one thing: up, down, status."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evcharge.lock import in_turn
from evcharge.settings import Settings
from evcharge.stack.bootstrap import bootstrap
from evcharge.stack.credentials import ensure_credentials
from evcharge.stack.errors import StackError
from evcharge.stack.probes import explain
from evcharge.stack.provision import Provisioner
from evcharge.stack.services import LIVE_STORES, SERVERS, STORES, Service, definitions, in_profile, prepare
from evcharge.stack.supervisor import Process, Supervisor

POLL_INTERVAL_S = 0.5
LOG_LINES_SHOWN = 15
#: supervisord's words for a service that will not come back by itself
_GIVEN_UP = ("FATAL", "UNKNOWN")

Report = Callable[[str, str], None]
"""Called with the name of a service or component and what is going on with it."""


def _silent(_name: str, _doing: str) -> None:
    pass


@dataclass(frozen=True)
class Status:
    """One service's state as `stack status` shows it. `memory_mb` is that of its whole process tree."""

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
        """For JSON; a service without a note has none."""
        return {name: value for name, value in asdict(self).items() if name != "note" or value}


class Stack:
    """The servers of one platform (one `settings.home`). After `up`, `settings` carries the credentials."""

    def __init__(self, settings: Settings, report: Report = _silent) -> None:
        self.settings = settings
        self.report = report

    @property
    def services(self) -> dict[str, Service]:
        return definitions(self.settings)

    def up(self, services: Collection[str] | None = None) -> Settings:
        """Provisions, starts and bootstraps `services` (default: the profile's that are not on demand).

        Returns the settings, with credentials.

        What runs and is healthy is left alone. Interrupted anywhere, it can simply be called again. Raises StackError.
        """
        with self._locked():
            self.settings = ensure_credentials(self.settings)
            chosen = self._chosen(services)
            own = {name for name in chosen if not self.services[name].external}
            Provisioner(self.settings, self.report).run(own)
            prepare(self.settings, own)
            supervisor = Supervisor(self.settings)
            supervisor.write_configuration()
            supervisor.ensure_running()
            stores = [name for name in chosen if name in STORES]
            # Spark starts slowest and nothing in the bootstrap needs it
            for name in own & {"spark-connect"}:
                supervisor.start(name)
            self._start_and_wait(supervisor, stores)
            if stores:
                self.report("bootstrap", "buckets, repository, topics, tables, indices")
                bootstrap(self.settings, stores)
                self.report("bootstrap", "ready")
            self._start_and_wait(supervisor, [name for name in chosen if name not in STORES])
        return self.settings

    def provision(self) -> None:
        """Downloads and builds what the profile's services need and the cache lacks."""
        own = [name for name, service in in_profile(self.settings).items() if not service.external]
        Provisioner(self.settings, self.report).run(own)

    def down(self) -> None:
        """Stops every service, first those on top of others, then the supervisor. The data stay."""
        if not self.settings.credentials_file.exists():
            return
        with self._locked():
            supervisor = Supervisor(self.settings)
            names = [process.name for process in supervisor.processes().values() if process.pid]
            supervisor.stop_together([name for name in names if name not in SERVERS], self.report)
            supervisor.stop_together([name for name in names if name in SERVERS], self.report)
            supervisor.shutdown()

    def clean(self) -> None:
        """Stops everything and removes the platform's data, logs and credentials."""
        self.down()
        shutil.rmtree(self.settings.home, ignore_errors=True)

    def start(self, name: str) -> None:
        """Starts one service and waits until it is healthy."""
        service = self._supervised(name)
        with self._locked():
            supervisor = Supervisor(self.settings)
            if not supervisor.is_running():
                raise StackError("the stack is down; start it with `evcharge stack up`")
            if name in self.left_out():
                raise StackError(f"{name} is not part of this platform, which is small; `make up PROFILE=full` adds it")
            self._start_and_wait(supervisor, [service.name])

    def stop(self, name: str) -> None:
        """Stops one service and waits for its end."""
        service = self._supervised(name)
        Supervisor(self.settings).stop_together([service.name], self.report)

    def status(self) -> list[Status]:
        """Every service of the platform probed now, all at once. Those on demand are listed while they are wanted."""
        processes, left_out = Supervisor(self.settings).processes(), self.left_out()
        shown = [
            service
            for service in self.services.values()
            if service.name not in left_out
            and (not service.on_demand or processes.get(service.name, _ABSENT).state != "STOPPED")
        ]
        with ThreadPoolExecutor(len(shown)) as pool:
            return list(pool.map(lambda service: self._status(service, processes.get(service.name, _ABSENT)), shown))

    def left_out(self) -> list[str]:
        """The stores that the profile leaves out: the running platform's, or the settings' if none runs."""
        present = Supervisor(self.settings).processes() or in_profile(self.settings)
        return [name for name in LIVE_STORES if name not in present and not self.services[name].external]

    def log(self, name: str) -> Path:
        """The log file of a service."""
        return self.settings.log_dir / f"{name}.log"

    def _chosen(self, services: Collection[str] | None) -> list[str]:
        known = in_profile(self.settings)
        for name in services or ():
            if self.known(name).name not in known:
                raise StackError(f"{name} is not in the profile {self.settings.profile}")
        return [name for name in known if (name in services if services else not known[name].on_demand)]

    def known(self, name: str) -> Service:
        """The service of that name; StackError naming all if there is none."""
        if name not in self.services:
            raise StackError(f"{name} is not a service; there are {', '.join(self.services)}")
        return self.services[name]

    def _supervised(self, name: str) -> Service:
        service = self.known(name)
        if service.external:
            raise StackError(f"{name} is external: its address is set, so it is neither started nor stopped here")
        return service

    def _start_and_wait(self, supervisor: Supervisor, names: list[str]) -> None:
        """Starts each service once those it comes after are healthy, and waits until all are."""
        waiting = {name: self.services[name] for name in names}
        started: dict[str, float] = {}
        problems = dict.fromkeys(names, "not asked yet")
        while waiting:
            for name, service in list(waiting.items()):
                if any(before in waiting for before in service.after):
                    self.report(name, f"waits for {', '.join(b for b in service.after if b in waiting)}")
                    continue
                if name not in started:
                    started[name] = time.monotonic()
                    if not service.external:
                        supervisor.start(name)
                process = supervisor.processes().get(name, _ABSENT)
                problem = self._problem(service, process)
                if problem is None:
                    self.report(name, "ready")
                    del waiting[name]
                    continue
                problems[name] = problem
                self.report(name, f"not ready yet: {problem}")
                late = time.monotonic() - started[name] > service.ready_within_s
                if late or (process.state in _GIVEN_UP and not service.external):
                    raise StackError(self._failure(service, problem))
            if waiting:
                time.sleep(POLL_INTERVAL_S)

    def _problem(self, service: Service, process: Process) -> str | None:
        """Why a service is not healthy; None if it is."""
        if not service.external and process.state != "RUNNING":
            return f"its process is {process.state}" + (f" ({process.problem})" if process.problem else "")
        if service.probe is None:
            return None
        try:
            service.probe(self.settings)
        except Exception as error:  # every client has its own family of errors, and each means: not healthy
            return explain(error)
        return None

    def _failure(self, service: Service, problem: str) -> str:
        if service.external:
            return f"{service.name} (external) is not healthy: {problem}"
        log = self.log(service.name)
        tail = "\n".join(f"  | {line}" for line in last_lines(log, LOG_LINES_SHOWN))
        return (
            f"{service.name} did not get healthy within {service.ready_within_s} s: {problem}\n"
            f"its log {log} ends with\n{tail}"
        )

    def _status(self, service: Service, process: Process) -> Status:
        problem = self._problem(service, process)
        return Status(
            service=service.name,
            version=service.version,
            healthy=problem is None,
            port=service.port,
            memory_mb=tree_memory_mb(process.pid) if process.pid else 0,
            log="" if service.external else str(self.log(service.name)),
            pid=process.pid,
            detail=problem or "healthy",
            note=service.note,
        )

    def _locked(self) -> AbstractContextManager[None]:
        """One command at a time changes a platform."""
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        waiting = "waits for another command that is changing this stack"
        return in_turn(self.settings.home / "stack.lock", lambda: self.report("stack", waiting))


_ABSENT = Process("", "STOPPED", 0, "")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a text file, none if it is missing. Reads its end only."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - count * 1000))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def tree_memory_mb(pid: int) -> int:
    """Resident memory of a process and its descendants, shared pages counted once per process (proc(5))."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                # the command, in brackets, may itself contain spaces
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                resident[int(folder.name)] = int(fields[21]) * page
    total, todo = 0, [pid]
    while todo:
        process = todo.pop()
        total += resident.get(process, 0)
        todo.extend(children.get(process, ()))
    return total // 1_000_000
