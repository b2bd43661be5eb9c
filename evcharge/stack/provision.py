"""Brings the servers' programs into the user's cache: jars by Maven, Go programs by building, the engine by npm.

One folder per component, version and build file, filled in a temporary folder and renamed: it is there completely or
not at all, whoever else is at it. What is there needs no network.
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

from evcharge.components import NATIVE, Component, components
from evcharge.lock import in_turn
from evcharge.settings import Settings
from evcharge.stack.errors import StackError
from evcharge.stack.programs import go_command, maven_command, npm_command

#: What Maven brings.
MAVEN = ("kafka", "spark", "elasticsearch", "cassandra")
#: A build on a slow machine and line; the measured times are in stack.toml.
BUILD_TIMEOUT_S = 3600

Report = Callable[[str, str], None]
"""Called with a component and what is going on with it."""


@dataclass
class Provisioner:
    """Provisions components; `report` hears what is going on."""

    settings: Settings
    report: Report
    _children: list[subprocess.Popen[str]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, services: Iterable[str]) -> None:
        """Provisions what `services` need and the cache lacks. Raises StackError; safe to interrupt."""
        missing = [
            component
            for service, component in components().items()
            if service in services and not component.is_cached(self.settings.cache)
        ]
        # two lanes: downloads wait for the network while the builds need the processors
        builds = [component for component in missing if component.name in ("minio", "lakefs")]
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
        if component.name in MAVEN:
            self._maven(component, folder)
        elif component.name == "clickhouse":
            self._npm(component, folder)
        else:
            self._go(component, folder)

    def _maven(self, component: Component, folder: Path) -> None:
        maven = maven_command()
        shutil.copy(NATIVE / component.name / "pom.xml", folder / "pom.xml")
        if component.name == "elasticsearch":
            goal, target, doing = "unpack-dependencies", folder, "fetching the distribution"
        else:
            goal, target, doing = "copy-dependencies", folder / "jars", "fetching jars"
        self._command(
            component,
            [
                *(
                    maven,
                    "-B",
                    "-ntp",
                    "-f",
                    str(folder / "pom.xml"),
                    f"-D{component.name}.version={component.version}",
                ),
                *(f"dependency:{goal}", "-DincludeScope=runtime", f"-DoutputDirectory={target}"),
            ],
            doing,
        )

    def _npm(self, component: Component, folder: Path) -> None:
        package = f"@chdb/lib-linux-x64-gnu@{component.version}"
        self._command(
            component,
            [
                *(*npm_command(), "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund"),
                *("--ignore-scripts", "--loglevel=error", package),
            ],
            "fetching the engine's library",
        )

    def _go(self, component: Component, folder: Path) -> None:
        # -v names each package as it is compiled: the only sign of life of a build of minutes
        go, flags = go_command(), ["-v", "-trimpath", "-ldflags=-s -w"]
        environment = {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
        if component.name == "minio":
            command = [go, "install", *flags, f"github.com/minio/minio@{component.version}"]
            self._command(component, command, "building", folder, environment | {"GOBIN": str(folder)})
            return
        with tempfile.TemporaryDirectory() as module:
            for name in component.build_files:
                shutil.copy(NATIVE / name, module)
            command = [go, "build", *flags, "-o", str(folder / "lakefs"), "github.com/treeverse/lakefs/cmd/lakefs"]
            self._command(component, command, "building", Path(module), environment)

    def _command(
        self,
        component: Component,
        command: list[str],
        doing: str,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Runs `command`, reporting its last line; raises StackError with its last lines if it fails."""
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
