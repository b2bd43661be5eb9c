"""Which servers are down, asked of the servers themselves: what is left to tell when a client's error says little."""

from __future__ import annotations

from collections.abc import Iterable

from evcharge.connections import server_down
from evcharge.settings import Settings
from evcharge.stack.services import definitions


def unhealthy_servers(settings: Settings, services: Iterable[str]) -> list[str]:
    """One line per server of `services` that does not answer its probe, naming address, reason and log."""
    known = definitions(settings)
    lines = []
    for name in services:
        service = known[name]
        if service.probe is None:
            continue
        try:
            service.probe(settings)
        except Exception as error:  # whatever a client raises, the server did not serve
            lines.append(str(server_down(settings, name, f"port {service.port}", error)))
    return lines
