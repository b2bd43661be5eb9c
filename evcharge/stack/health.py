"""Which servers are down, as their own probes find it. A client's own error often says little."""

from __future__ import annotations

from collections.abc import Iterable

from evcharge.connections import server_down
from evcharge.settings import Settings
from evcharge.stack.servers import definitions


def unhealthy_servers(settings: Settings, services: Iterable[str]) -> list[str]:
    """One line per server of `services` whose probe fails: its port, the reason, its log."""
    known = definitions(settings)
    lines = []
    for name in services:
        try:
            known[name].probe()
        except Exception as error:  # each client has its own errors, and each of them means that the server is down
            lines.append(str(server_down(settings, name, f"port {known[name].port}", error)))
    return lines
