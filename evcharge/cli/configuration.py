"""`evcharge settings` and `evcharge credentials`: how the platform is set up, and how to log in to its warehouse."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show


def settings() -> None:
    """List every setting with its present value. Each is set by the environment variable of its name."""
    from pydantic import SecretStr

    from evcharge.settings import Settings, load_settings

    current = load_settings()
    table = plain_table("variable", "value", "meaning")
    for name, field in Settings.model_fields.items():
        value = getattr(current, name)
        shown = ("(set)" if value else "(not set)") if isinstance(value, SecretStr) else str(value)
        table.add_row(f"EVCHARGE_{name.upper()}", shown, field.description or "")
    # a name on two lines cannot be copied
    table.columns[0].no_wrap = True
    print_table(table)


def credentials(
    who: Annotated[str, typer.Argument(help="Always `analyst`, the read-only user of the warehouse.")],
    as_json: AsJson = False,
) -> None:
    """Print how to log in to the warehouse as the read-only analyst, from DBeaver, clickhouse-client or a browser.

    Try it: evcharge credentials analyst
    """
    from evcharge.errors import UserError
    from evcharge.settings import load_settings

    if who != "analyst":
        raise UserError(f"there are no credentials for {who!r}; try `evcharge credentials analyst`")
    settings = load_settings()
    password = settings.analyst_password.get_secret_value()
    if not password:
        raise UserError("no credentials yet: `make up` generates them")
    login: dict[str, Any] = {
        "host": settings.clickhouse_host,
        "port": settings.clickhouse_port,
        "http_port": settings.clickhouse_http_port,
        "user": settings.analyst_user,
        "password": password,
        "database": settings.clickhouse_database,
    }
    show(login, as_json, lambda: _print_login(login))


def _print_login(login: dict[str, Any]) -> None:
    for name, value in login.items():
        say(f"{name:10} {value}")
    host, port, http_port = login["host"], login["port"], login["http_port"]
    say(
        "",
        f"Browser            http://{host}:{http_port}/play (user and password at the top right)",
        f"DBeaver            new connection, ClickHouse: host, port {http_port} (HTTP), database, user, password as above",
        f"clickhouse-client  clickhouse-client --host {host} --port {port} --user {login['user']} \\",
        f"                     --password '{login['password']}' --database {login['database']}",
        "Start with         SELECT * FROM v_charging_sessions LIMIT 10; more in docs/questions.md",
    )
