"""A Spark standalone master with workers, each a process of its own on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from evcharge.components import SPARK
from evcharge.settings import Settings
from evcharge.spark_configuration import NO_FOLDER, SPARK_HOME
from evcharge.stack.programs import java_path

READY_WITHIN_S = 60.0


class SparkCluster:
    """Use it as a context manager; `master` is the address for the driver."""

    def __init__(self, settings: Settings, folder: Path, workers: int, secret: str) -> None:
        self._settings, self._folder, self._workers, self._secret = settings, folder, workers, secret
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def master(self) -> str:
        return f"spark://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        return "\n".join(file.read_text()[-2000:] for file in sorted(self._folder.glob("*.log")))

    def executors(self) -> list[int]:
        """The ids of the processes that run tasks."""
        return [
            int(child)
            for process in self._processes
            for thread in Path(f"/proc/{process.pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    def __enter__(self) -> Self:
        own = ("--host", "127.0.0.1", "--webui-port", "0")
        self._start("master", "org.apache.spark.deploy.master.Master", *own, "--port", str(self._port))
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self._port)) == 0:
                    break
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)
        for number in range(self._workers):
            name = f"worker-{number}"
            options = ("--cores", "4", "--memory", "1g", "--work-dir", str(self._folder / name))
            self._start(name, "org.apache.spark.deploy.worker.Worker", *own, *options, self.master)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # with the executors and their Python workers
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)

    def _start(self, name: str, main: str, *arguments: str) -> None:
        defaults = self._folder / "defaults.conf"
        if not defaults.exists():
            defaults.touch(0o600)
            defaults.write_text(
                f"spark.master.rest.enabled false\nspark.authenticate true\nspark.authenticate.secret {self._secret}\n"
            )
        classes = f"{SPARK_HOME / 'jars'}/*:{SPARK.path(self._settings.cache)}/*"
        with (self._folder / f"{name}.log").open("ab") as output:
            command = [java_path(), "-Xmx256m", "-cp", classes, main, "--properties-file", str(defaults), *arguments]
            # what Spark's own scripts set
            environment = {
                "SPARK_HOME": str(SPARK_HOME),
                "SPARK_SCALA_VERSION": "2.13",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "PYSPARK_PYTHON": sys.executable,
            }
            process = subprocess.Popen(
                command,
                env=os.environ | NO_FOLDER | environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._processes.append(process)
