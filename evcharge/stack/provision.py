"""Fetches the servers' programs into the user's cache: jars with Maven, libraries with npm. Builds the Go programs.

The dashboard's pages are built in the clone. What takes minutes can go on in the background, while servers that need none of it
start.

Each component, version and build file has its own folder. It is filled under a temporary name and then renamed, so it
exists completely or not at all, also when several clones fetch at once. What is cached needs no network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from evcharge.components import NATIVE, Build, Component, Go, Maven, Npm, Pages
from evcharge.lock import in_turn
from evcharge.settings import Settings
from evcharge.stack.errors import StackError
from evcharge.stack.programs import go_command, maven_command, npm_command
from evcharge.stack.servers import components

#: Long enough for a build on a slow machine and line. The measured times are in stack.toml.
BUILD_TIMEOUT_S = 3600

Report = Callable[[str, str], None]
"""Called with a component's name and what happens to it."""


#: What does not end itself is killed after this.
END_WITHIN_S = 5.0
#: What is compiled from source goes behind everything else that runs on the machine.
BUILD_NICENESS = 19
GO_FLAGS = ("-trimpath", "-ldflags=-s -w")
GO_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}


@dataclass
class Provisioner:
    """Provisions components. `report` is called as they progress, from several threads.

    As a context manager it ends what still goes on in the background, unless it was waited for.
    """

    settings: Settings
    report: Report
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _begun: list[Future[None]] = field(default_factory=list)
    _fetched_modules: dict[str, Future[None]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "provision"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._stop()
        self._pool.shutdown()

    def run(self, services: Iterable[str]) -> None:
        """Provisions what `services` need and the cache lacks. Raises StackError. It can be interrupted at any time."""
        try:
            for lane in self._lanes(services):
                lane.result()
        except BaseException:
            self._stop()
            raise

    def begin(self, services: Iterable[str]) -> list[Future[None]]:
        """Does the same in the background. Returns what `wait` can wait for."""
        lanes = self._lanes(services)
        self._begun += lanes
        return lanes

    def wait(self, lanes: Iterable[Future[None]] | None = None) -> None:
        """Returns once these lanes are done, by default all that were begun. Raises StackError."""
        for lane in self._begun if lanes is None else lanes:
            lane.result()

    def _lanes(self, services: Iterable[str]) -> list[Future[None]]:
        """Starts three lanes: builds need the processors; Maven's downloads share a folder, so they go one by one."""
        wanted = set(services)
        missing = dict.fromkeys(
            component
            for service, component in components().items()
            if service in wanted and not component.is_cached(self.settings.cache)
        )
        lanes: dict[type[Go | Maven | Npm], list[Component]] = {}
        for component in missing:
            if isinstance(component.source, Go):
                # a build behind everything else would wait for each of its downloads: MinIO's took 215 s so
                self._fetched_modules[component.name] = self._pool.submit(self._modules, component)
            lane = Npm if isinstance(component.source, Build) else type(component.source)
            lanes.setdefault(lane, []).append(component)
        return [self._pool.submit(self._lane, lane) for lane in lanes.values()]

    def _stop(self) -> None:
        self._stopping.set()
        _end(self._children)

    def _lane(self, lane: list[Component]) -> None:
        for component in lane:
            if not self._stopping.is_set():
                self._provision(component)

    def _provision(self, component: Component) -> None:
        if isinstance(component, Pages):
            self._pages(component)
            return
        target = component.folder(self.settings.cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        waiting = "waiting for another clone that is fetching it"
        with in_turn(target.parent / ".lock", lambda: self.report(component.name, waiting)):
            if component.is_cached(self.settings.cache):
                self.report(component.name, "ready")
                return
            for killed in target.parent.glob(".new-*"):
                shutil.rmtree(killed)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as name:
                folder = Path(name) / "content"
                folder.mkdir()
                self._fetch(component, folder)
                if not (folder / component.result).exists():
                    raise StackError(f"{component.name}: the download has no {component.result}")
                shutil.rmtree(target, ignore_errors=True)
                folder.rename(target)
        self.report(component.name, "ready")

    def _fetch(self, component: Component, folder: Path) -> None:
        match component.source:
            case Maven() as source:
                self._maven(component, source, folder)
            case Npm() as source:
                self._npm(component, source, folder)
            case Go() as source:
                self._go(component, source, folder)
            case Build():
                raise AssertionError(f"{component.name} is built in the clone")

    def _pages(self, pages: Pages) -> None:
        source = pages.folder_of_source
        packages, lock = source / "node_modules", source / "package-lock.json"
        npm, installed = npm_command(), packages / ".installed-from"
        environment = {"PATH": f"{Path(npm[0]).parent}{os.pathsep}{os.environ['PATH']}"}
        waiting = "waiting for another command that is building them"
        with in_turn(self.settings.cache / pages.name / ".lock", lambda: self.report(pages.name, waiting)):
            digest = pages.digest()
            if not pages.is_cached(self.settings.cache):
                pages.stamp.unlink(missing_ok=True)
                if not installed.exists() or installed.read_text() != lock.read_text():
                    fetch = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
                    self._command(pages, [*npm, *fetch], "fetching packages", source, environment)
                    installed.write_text(lock.read_text())
                self._command(pages, [*npm, "run", "build"], "building", source, environment)
                pages.stamp.write_text(digest)
        self.report(pages.name, "ready")

    def _maven(self, component: Component, source: Maven, folder: Path) -> None:
        pom = shutil.copy(NATIVE / component.name / "pom.xml", folder / "pom.xml")
        if source.unpack:
            goal, target, doing = "unpack-dependencies", folder, "fetching the distribution"
        else:
            goal, target, doing = "copy-dependencies", folder / "jars", "fetching jars"
        command = [
            *(maven_command(), "-B", "-ntp", "-f", str(pom), f"-D{component.name}.version={component.version}"),
            *(f"dependency:{goal}", "-DincludeScope=runtime", f"-DoutputDirectory={target}"),
        ]
        self._command(component, command, doing)

    def _npm(self, component: Component, source: Npm, folder: Path) -> None:
        command = [
            *(*npm_command(), "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund"),
            *("--ignore-scripts", "--loglevel=error", f"{source.package}@{component.version}"),
        ]
        self._command(component, command, "fetching the library")

    def _modules(self, component: Component) -> None:
        with _go_module(component) as module:
            self._command(component, [go_command(), "mod", "download"], "fetching modules", module, GO_ENVIRONMENT)

    def _go(self, component: Component, source: Go, folder: Path) -> None:
        self._fetched_modules[component.name].result()
        # -v names each compiled package: the only sign of life of a build that takes minutes
        build = [go_command(), "build", "-v", *GO_FLAGS, "-o", str(folder / component.result), source.package]
        with _go_module(component) as module:
            self._command(component, build, "building", module, GO_ENVIRONMENT, behind=True)

    def _command(
        self,
        component: Component,
        command: list[str],
        doing: str,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        behind: bool = False,
    ) -> None:
        """Runs `command`, `behind` everything else if wanted, and reports its newest line.

        Raises StackError with its last lines if it fails.
        """
        if self._stopping.is_set():
            return
        self.report(component.name, doing)
        started, lines = time.monotonic(), []
        with subprocess.Popen(
            [*_behind_everything(), *command] if behind else command,
            cwd=cwd,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            self._children.append(process)
            if self._stopping.is_set():
                # it began while the others were ended
                _end([process])
            if behind:
                _yield_as_session(process.pid)
            timer = threading.Timer(BUILD_TIMEOUT_S, process.kill)
            timer.start()
            try:
                for line in process.stdout or ():
                    lines.append(line.rstrip())
                    self.report(component.name, f"{doing}: {line.strip()[:60]}")
            finally:
                timer.cancel()
        if process.returncode:
            spent = time.monotonic() - started
            tail = "\n  ".join(lines[-12:])
            raise StackError(f"{component.name} {component.version}: {doing} failed after {spent:.0f} s\n  {tail}")


def _end(children: Iterable[subprocess.Popen[str]]) -> None:
    """Ends what still runs. A build has processes of its own: each child leads a group."""
    running = [child for child in children if child.poll() is None]
    for child in running:
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + END_WITHIN_S
    for child in running:
        try:
            child.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


@contextmanager
def _go_module(component: Component) -> Iterator[Path]:
    """A folder with the component's go.mod and go.sum."""
    with tempfile.TemporaryDirectory() as module:
        for name in component.build_files:
            shutil.copy(NATIVE / name, module)
        yield Path(module)


def _behind_everything() -> list[str]:
    """The words before a command that gets the processors and the disk only while nobody else wants them."""
    ionice = shutil.which("ionice")
    return ["nice", "-n", str(BUILD_NICENESS), *([ionice, "-c", "3"] if ionice else [])]


def _yield_as_session(pid: int) -> None:
    """Linux may first divide the processors among sessions (`man 7 sched`, autogroup): niceness counts only within one."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(BUILD_NICENESS))
