"""The live stream before Dagster runs: it makes room for Dagster's run of the job `live_stream`, which takes over."""

from __future__ import annotations

from typing import ClassVar

from evcharge.components import SPARK
from evcharge.priority import STREAM
from evcharge.stack.programs import environment_script, java_command
from evcharge.stack.servers.base import ProjectProcess, project_environment


class Stream(ProjectProcess):
    """It has no probe: it is healthy while its process runs."""

    name = "stream"
    version = SPARK.version
    component = SPARK
    programs: ClassVar = {"java": java_command}
    on_demand = True
    first_look = True
    # its Spark starts beside the stores, for which it waits itself
    starts_early = True
    # it ends when it was relieved
    restarts_after_success = False
    stop_within_s = 60
    niceness = STREAM
    note = "until Dagster's run takes over"

    @property
    def command(self) -> tuple[str, ...]:
        return (str(environment_script("evcharge")), "stream", "--stand-in", "--report-every", "60")

    @property
    def environment(self) -> dict[str, str]:
        return project_environment(self.settings)
