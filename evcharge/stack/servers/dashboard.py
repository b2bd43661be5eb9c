"""The dashboard: the web pages for drivers and operators, and their API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version

from pydantic import SecretStr

from evcharge.components import PAGES
from evcharge.queries.dashboard import dump, reader_values, settings_file
from evcharge.settings import Settings
from evcharge.stack.files import write_private
from evcharge.stack.servers.base import ProjectProcess
from evcharge.stack.servers.probing import http_get


class Dashboard(ProjectProcess):
    """It reads what stores there are and says what is missing, so it waits for none."""

    name = "dashboard"
    version = version("gunicorn")
    ports = ("dashboard",)
    component = PAGES
    first_look = True
    unprivileged = True
    stop_within_s = 15
    lacking = "the dashboard"

    @property
    def configuration(self) -> tuple[str, ...]:  # type: ignore[override]
        return (settings_file(self.settings.home, self.settings.dashboard_port).name,)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.settings.dashboard_port}"

    @property
    def command(self) -> tuple[str, ...]:
        port, streams = self.settings.dashboard_port, self.settings.dashboard_streams
        command = (sys.executable, "-m", "dashboard", "--port", str(port), "--streams", str(streams))
        return (*_without_secrets(), *command)

    @property
    def environment(self) -> dict[str, str]:
        return {"EVCHARGE_HOME": str(self.settings.home)}

    def prepare(self) -> None:
        """Writes the settings that its process reads, with the logins of its own."""
        write_private(
            settings_file(self.settings.home, self.settings.dashboard_port), dump(reader_values(self.settings))
        )

    def take_along(self, report: Callable[[str], None]) -> None:
        """Deletes the settings of a version that had one file for all ports: they hold logins, and nothing reads them."""
        (self.folder / "settings.json").unlink(missing_ok=True)

    def probe(self) -> None:
        """Asks for what a page asks for first; no store is asked."""
        http_get(f"http://{self.address}/api/v1/config")


def _without_secrets() -> tuple[str, ...]:
    """The words before a command that must not inherit the platform's secrets from the environment."""
    secrets = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    return ("env", *(word for name in secrets for word in ("-u", f"EVCHARGE_{name.upper()}")))
