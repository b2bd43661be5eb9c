"""The Cassandra tables of the live state, made from `schema.cql`."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from evcharge.connections import cassandra
from evcharge.settings import Settings

SCHEMA = Path(__file__).parent / "schema.cql"


def ensure(settings: Settings) -> None:
    """Makes missing tables in the keyspace, which exists. Raises ServerDownError."""
    with cassandra(settings) as session:
        for statement in statements(settings.cassandra_keyspace):
            session.execute(statement, timeout=60)


def statements(keyspace: str) -> list[str]:
    """The statements of `schema.cql` for a keyspace."""
    text = re.sub(r"--.*", "", Template(SCHEMA.read_text()).substitute(keyspace=keyspace))
    return [statement.strip() for statement in text.split(";") if statement.strip()]


def columns(table: str) -> list[tuple[str, str, str]]:
    """Name, type and comment of a table's columns. Raises KeyError if there is no such table."""
    found = re.search(rf"CREATE TABLE IF NOT EXISTS \${{keyspace}}\.{table} \((.*?)\n\)", SCHEMA.read_text(), re.DOTALL)
    if found is None:
        raise KeyError(table)
    return [
        (name, kind, comment)
        for name, kind, comment in re.findall(r"^\s+([a-z_]+) ([a-z]+),(?:\s+-- (.*))?$", found[1], re.MULTILINE)
    ]
