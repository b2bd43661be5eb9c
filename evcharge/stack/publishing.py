"""Publishes what waits in Kafka before the servers stop, in a process that can be ended at any moment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from tempfile import TemporaryFile
from threading import Timer

from evcharge.settings import PROJECT, Settings
from evcharge.stack.health import unhealthy_servers
from evcharge.stack.programs import environment_script
from evcharge.stack.servers.base import project_environment

NEEDED = ("kafka", "minio", "lakefs", "spark-connect")


def publish_waiting(settings: Settings, within_s: float, report: Callable[[str, str], None]) -> str:
    """Runs `evcharge lake publish` for at most so many seconds. Returns why not everything is published, or nothing.

    A killed publication costs nothing: the next one publishes the same rows.
    """
    report("publish", "looks for rows that wait")
    down = unhealthy_servers(settings, NEEDED)
    if down:
        report("publish", "ready")
        return down[0]
    command = [str(environment_script("evcharge")), "lake", "publish"]
    environment = os.environ | project_environment(settings)
    line, ended_late = "", False
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT, env=environment
        ) as process,
    ):

        def end() -> None:
            nonlocal ended_late
            ended_late = True
            process.kill()

        limit = Timer(within_s, end)
        limit.start()
        try:
            for line in map(str.strip, process.stdout or ()):
                report("publish", line)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            limit.cancel()
        errors.seek(0)
        # the rest of what it says there is its log
        said = [text.removeprefix("evcharge: ") for text in errors.read().splitlines() if text.startswith("evcharge: ")]
    report("publish", "ready")
    if ended_late:
        return f"it took longer than {within_s:.0f} s"
    return (said[-1] if said else line) if process.returncode else ""
