"""What people and saved data depend on is as it was saved: commands, settings, assets, tables, topics, file formats.

A change that is meant goes into the list (`pytest tests/unit/test_public_interface.py --save-interface`) and into
CHANGELOG.md.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import typer
from pydantic import SecretStr

from evcharge.cli.app import app
from evcharge.contracts import CONTRACTS
from evcharge.feeds import sent_ledger as sent
from evcharge.lake import layout, schemas, waiting_hours
from evcharge.lake.candidate import Manifest
from evcharge.lake.ledger import Ledger, OffsetRange
from evcharge.live import cassandra_schema, indices
from evcharge.reference import mongodb as reference
from evcharge.settings import Settings, stack_file
from evcharge.simulated import live_feed as simulated
from evcharge.simulated import offline_run as simulating
from evcharge.simulated import past_days as simulated_days
from evcharge.stack.servers import definitions as services
from evcharge.warehouse.schema import SQL, warehouse_tables
from evcharge_assets.definitions import defs

SAVED = Path(__file__).with_name("public_interface.json")


# typer has its own copy of click, whose classes have no public names
def commands(command: Any, path: str = "evcharge") -> dict[str, list[str]]:
    """Each command's arguments and options with their defaults."""
    found = {path: sorted(_parameter(parameter) for parameter in command.params)}
    for name, sub in getattr(command, "commands", {}).items():
        found |= commands(sub, f"{path} {name}")
    return found


def _parameter(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    return f"{parameter.param_type_name} {'/'.join(names)} = {parameter.default!r}"


def settings() -> dict[str, str]:
    """Each setting's default; paths are those of whoever runs this."""
    return {
        f"EVCHARGE_{name.upper()}": "(secret)"
        if isinstance(field.default, SecretStr)
        else "(path)"
        if isinstance(field.default, Path)
        else str(field.default)
        for name, field in Settings.model_fields.items()
    }


def assets() -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    repository = defs.get_repository_def()
    return {
        "assets": {key.to_user_string(): _asset(graph.get(key)) for key in sorted(graph.get_all_asset_keys())},
        "checks": sorted(key.to_user_string() for key in graph.asset_check_keys),
        "jobs": sorted(job.name for job in repository.get_all_jobs()),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "schedules": sorted(f"{schedule.name} {schedule.cron_schedule}" for schedule in repository.schedule_defs),
    }


def _asset(node: Any) -> dict[str, Any]:
    partitions: dg.PartitionsDefinition[str] | None = node.partitions_def
    return {
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "parents": sorted(key.to_user_string() for key in node.parent_keys),
        "partitions": type(partitions).__name__ if partitions else None,
    }


def topics() -> dict[str, Any]:
    return {
        topic: {
            "key": contract.key,
            "version": contract.schema_version,
            "event_time": contract.event_time,
            "fields": [f"{f.name} {f.type}{' required' if f.required else ''}" for f in contract.fields],
            "rules": [f"{rule.code} {rule.field}: {rule.violated_when}" for rule in contract.rules],
        }
        for topic, contract in CONTRACTS.items()
    }


def stores() -> dict[str, Any]:
    """Tables of ClickHouse and Cassandra, indices of Elasticsearch, collections of MongoDB."""
    return {
        "clickhouse": {t.name: [f"{name} {kind}" for name, kind, _ in t.columns] for t in warehouse_tables(SQL)},
        "cassandra": [" ".join(statement.split()) for statement in cassandra_schema.statements("evcharge")],
        "elasticsearch": {alias: indices.definition(alias) for alias in indices.ALIASES},
        "elasticsearch_format": indices.FORMAT,
        "mongodb": [reference.STATIONS, reference.EV_MODELS],
    }


def lake() -> dict[str, Any]:
    """Paths, schemas and JSON files of the archive."""
    planned = OffsetRange("session-events", "id", {0: 1, 1: 0}, {0: 5, 1: 2}, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    ledger = Ledger("session-events", "", {}, 0, "", 0, None).after(planned, 2)
    return {
        "raw": {topic: _schema(schemas.raw_schema(contract)) for topic, contract in CONTRACTS.items()},
        "quarantine": _schema(schemas.QUARANTINE_SCHEMA),
        "paths": [
            layout.raw_path("session-events", "2026-01-02", "2026-01-02-03", "name"),
            layout.quarantine_path("session-events", "2026-01-02-03", "name"),
            planned.manifest_path,
            Ledger.path("session-events"),
            layout.LAST_PLACES_PATH,
            layout.KNOWN_STATIONS_PATH,
            layout.compacted_path("", "name"),
            layout.manifest_prefix("session-events", "2026-01-02-03") + layout.JOINED_MANIFESTS,
            waiting_hours.PATH,
        ],
        "branch": planned.branch(2),
        "publication_id": planned.publication_id,
        "range": planned.to_json(),
        "ledger": ledger.to_json(),
        "maintenance": waiting_hours.Waiting("seen", frozenset(), {}, {}, "", frozenset(), True).note(
            [], {}, {}, "", [], "by"
        ),
        "manifest": [field.name for field in fields(Manifest)],
    }


def feeds() -> dict[str, Any]:
    """Files that producers keep."""
    return {
        "ledger": _schema(sent.SCHEMA),
        "feeds": [simulated.FEED, simulated_days.FEED],
        "sessions.parquet": _schema(simulating.SESSIONS),
    }


def servers() -> dict[str, Any]:
    return {"services": list(services(Settings())), "ports": stack_file()["ports"]}


def _schema(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type}{'' if field.nullable else ' required'}" for field in schema]


COLLECTED = {
    "commands": lambda: commands(typer.main.get_command(app)),
    "settings": settings,
    "assets": assets,
    "topics": topics,
    "stores": stores,
    "lake": lake,
    "feeds": feeds,
    "servers": servers,
}


@pytest.mark.parametrize("part", COLLECTED)
def test_it_is_as_it_was_saved(part: str, request: pytest.FixtureRequest) -> None:
    found = json.loads(json.dumps(COLLECTED[part]()))
    saved = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    if request.config.getoption("--save-interface"):
        saved[part] = found
        SAVED.write_text(json.dumps(saved, indent=1) + "\n")
    assert found == saved[part]
