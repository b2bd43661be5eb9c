"""`evcharge dashboard`: the web pages, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from evcharge.cli.output import say


def dashboard(
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Another port than EVCHARGE_DASHBOARD_PORT.")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when its code changes.")] = False,
) -> None:
    """Run the dashboard in the foreground until Ctrl-C, outside the supervisor.

    `evcharge up` runs one already. This one reads the same platform with the same logins, which only read, and listens on
    127.0.0.1.

    Try it: evcharge dashboard --port 8080
    """
    import os
    import socket
    import sys

    from evcharge.errors import UserError
    from evcharge.settings import load_settings
    from evcharge.stack.files import private_files
    from evcharge.stack.programs import unprivileged
    from evcharge.stack.servers.base import SERVER_USER_ID
    from evcharge.stack.servers.dashboard import Dashboard

    settings = load_settings()
    port = port or settings.dashboard_port
    with socket.socket() as probe:
        # as the server binds it: a port that closed a moment ago is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} of 127.0.0.1: {error.strerror}; --port takes another") from None
    server = Dashboard(settings.model_copy(update={"dashboard_port": port}))
    with private_files():
        server.prepare()
        server.give_away()
    say(f"http://127.0.0.1:{port}/", err=True)
    sys.stderr.flush()
    command = [*unprivileged(SERVER_USER_ID), *server.command, *(["--reload"] if reload else [])]
    os.chdir(server.working_directory)
    os.execvpe(command[0], command, os.environ | server.environment)
