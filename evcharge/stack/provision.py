"""Fetches the servers' programs into the user's cache: jars with Maven, libraries with npm. Builds the Go programs.

Each component, version and build file has its own folder. It is filled under a temporary name and then renamed, so it
exists completely or not at all, also when several clones fetch at once. What is cached needs no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from evcharge.components import NATIVE, Component, Go, Maven, Npm
from evcharge.lock import in_turn
from evcharge.settings import Settings
from evcharge.stack.errors import StackError
from evcharge.stack.programs import go_command, maven_command, npm_command
from evcharge.stack.servers import components

#: Long enough for a build on a slow machine and line. The measured times are in stack.toml.
BUILD_TIMEOUT_S = 3600

Report = Callable[[str, str], None]
"""Called with a component's name and what happens to it."""


@dataclass
class Provisioner:
    """Provisions components. `report` is called as they progress, from several threads."""

    settings: Settings
    report: Report
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, services: Iterable[str]) -> None:
        """Provisions what `services` need and the cache lacks. Raises StackError. It can be interrupted at any time."""
        missing = [
            component
            for service, component in components().items()
            if service in services and not component.is_cached(self.settings.cache)
        ]
        # two lanes: downloads wait for the network while the builds need the processors
        builds = [component for component in missing if isinstance(component.source, Go)]
        downloads = [component for component in missing if component not in builds]
        with ThreadPoolExecutor(2) as pool:
            lanes = [pool.submit(self._lane, lane) for lane in (builds, downloads) if lane]
            try:
                for lane in lanes:
                    lane.result()
            except BaseException:
                self._stopping.set()
                for child in self._children:
                    child.terminate()
                raise

    def _lane(self, lane: list[Component]) -> None:
        for component in lane:
            if not self._stopping.is_set():
                self._provision(component)

    def _provision(self, component: Component) -> None:
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

    def _go(self, component: Component, source: Go, folder: Path) -> None:
        # -v names each compiled package: the only sign of life of a build that takes minutes
        go, flags = go_command(), ["-v", "-trimpath", "-ldflags=-s -w"]
        environment = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
        if not component.build_files:
            command = [go, "install", *flags, f"{source.package}@{component.version}"]
            self._command(component, command, "building", folder, environment | {"GOBIN": str(folder)})
            return
        with tempfile.TemporaryDirectory() as module:
            for name in component.build_files:
                shutil.copy(NATIVE / name, module)
            command = [go, "build", *flags, "-o", str(folder / component.result), source.package]
            self._command(component, command, "building", Path(module), environment)

    def _command(
        self,
        component: Component,
        command: list[str],
        doing: str,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Runs `command` and reports its newest line. Raises StackError with its last lines if it fails."""
        self.report(component.name, doing)
        started, lines = time.monotonic(), []
        with subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            self._children.append(process)
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
