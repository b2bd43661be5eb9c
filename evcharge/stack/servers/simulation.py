"""The live feed as a service: simulated charging that goes to Kafka as it happens. It is not a server."""

from __future__ import annotations

from evcharge.stack.programs import environment_script
from evcharge.stack.servers.base import ProjectProcess, project_environment


class Simulation(ProjectProcess):
    """It has no probe: it is healthy while its process runs."""

    name = "simulation"
    version = "live"
    after = ("kafka",)
    on_demand = True
    stop_within_s = 30
    note = "simulated charging, not a server"

    @property
    def command(self) -> tuple[str, ...]:
        return (str(environment_script("evcharge")), "simulate", "live")

    @property
    def environment(self) -> dict[str, str]:
        return project_environment(self.settings)
