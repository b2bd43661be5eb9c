"""The whole asset graph: what Dagster's pages need of every asset, and what the publish protocol needs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from evcharge.contracts import CONTRACTS, SESSION_EVENTS, Contract
from evcharge.lake.gates import GATES
from evcharge.lake.schemas import raw_schema
from evcharge.settings import PROJECT, load_settings
from evcharge.stack.servers import definitions as services
from evcharge.warehouse.day_rules import DAY_RULES
from evcharge.warehouse.schema import SQL, Table, warehouse_tables
from evcharge_assets.definitions import build_definitions, defs
from evcharge_assets.jobs import publish_job_name
from evcharge_assets.kafka import topic_key
from evcharge_assets.lake import archive_key, candidate_key
from evcharge_assets.warehouse import table_key

#: A fresh interpreter takes 5 s for it on two idle cores; the code server's own limit is 180 s (dagster.yaml).
LOAD_LIMIT_S = 90

STORES = {"feeds", "kafka", "lake", "clickhouse", "elasticsearch", "cassandra", "mongodb"}

graph: AssetGraph = defs.resolve_asset_graph()
asset_keys = sorted(graph.get_all_asset_keys())
check_keys = sorted(graph.asset_check_keys)


def test_definitions_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.slow
def test_definitions_load_in_a_fresh_interpreter(tmp_path: Path) -> None:
    """On a machine without credentials, servers or a running platform."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EVCHARGE_", "DAGSTER_"))}
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "from evcharge_assets.definitions import defs; defs.resolve_all_job_defs()"],
        check=True,
        env=environment | {"EVCHARGE_HOME": str(tmp_path)},
        cwd=PROJECT,
        timeout=LOAD_LIMIT_S,
    )
    assert time.monotonic() - began < LOAD_LIMIT_S


@pytest.mark.parametrize("key", asset_keys, ids=dg.AssetKey.to_user_string)
def test_an_asset_says_what_it_is(key: dg.AssetKey) -> None:
    """The naming rule: `<store>/<name>`, the store is the group, and names are lower case with underscores."""
    node = graph.get(key)
    store, name = key.path
    assert store in STORES
    assert node.group_name == store
    assert name == name.lower()
    assert name.isidentifier()
    assert node.description
    assert node.owners
    assert node.kinds
    schema = node.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    assert schema.columns


@pytest.mark.parametrize("key", check_keys, ids=dg.AssetCheckKey.to_user_string)
def test_a_check_says_what_it_checks(key: dg.AssetCheckKey) -> None:
    assert graph.get(key).description


@pytest.mark.parametrize("topic", CONTRACTS)
def test_every_gate_blocks_every_candidate(topic: str) -> None:
    blocking = {key.name for key in check_keys if key.asset_key == candidate_key(topic) and graph.get(key).blocking}
    assert blocking == {gate.name for gate in GATES}
    # in one run, so that a closed gate keeps the archive's step from starting
    job = defs.resolve_job_def(publish_job_name(topic))
    assert job.asset_layer.selected_asset_keys == {candidate_key(topic), archive_key(topic)}
    assert {key.name for key in job.asset_layer.asset_graph.asset_check_keys} == blocking
    assert graph.get(archive_key(topic)).parent_keys == {candidate_key(topic)}


def test_rules_on_days_warn_and_stop_nothing() -> None:
    on_facts = {key.name: graph.get(key) for key in check_keys if key.asset_key == table_key("fact_charging_sessions")}
    assert on_facts.keys() == {rule.code.lower() for rule in DAY_RULES}
    assert not any(node.blocking for node in on_facts.values())


def test_one_merges_and_one_loads_at_a_time() -> None:
    pools = {key: graph.get(key).pools for key in asset_keys if not graph.get(key).is_external}
    assert {key for key, pool in pools.items() if pool == {"lake_merge"}} == {archive_key(topic) for topic in CONTRACTS}
    assert {key for key, pool in pools.items() if pool == {"warehouse_load"}} == {
        table_key(name) for name in ("dim_station", "dim_vehicle", "fact_charging_sessions", "fact_vehicle_positions")
    }


def test_lineage_leads_from_the_topic_to_the_mart() -> None:
    mart, topic = table_key("v_charging_sessions"), topic_key(SESSION_EVENTS.topic)
    upstream: set[dg.AssetKey] = set()
    todo = [mart]
    while todo:
        parents = graph.get(todo.pop()).parent_keys - upstream
        upstream |= parents
        todo += parents
    assert {topic, candidate_key(SESSION_EVENTS.topic), archive_key(SESSION_EVENTS.topic)} <= upstream


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_columns_are_those_of_the_contract(contract: Contract) -> None:
    def columns(key: dg.AssetKey) -> list[str]:
        return [column.name for column in graph.get(key).metadata["dagster/column_schema"].columns]

    assert columns(topic_key(contract.topic)) == list(contract.columns)
    assert columns(candidate_key(contract.topic)) == columns(archive_key(contract.topic)) == raw_schema(contract).names


@pytest.mark.parametrize("table", warehouse_tables(SQL), ids=lambda table: table.name)
def test_columns_are_those_of_the_warehouse(table: Table) -> None:
    key = table_key(table.name)
    if table.name in ("loaded_day", "session_end"):
        assert key not in asset_keys, "bookkeeping, not data"
        return
    columns = graph.get(key).metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == [name for name, _, _ in table.columns]


def test_resources_can_be_replaced() -> None:
    mine = dg.ResourceDefinition.none_resource()
    resources = build_definitions({"platform": mine}).resources
    assert resources is not None
    assert resources["platform"] is mine


def test_workspace_points_at_the_definitions() -> None:
    """The code server that `workspace.yaml` names serves an attribute that exists."""
    settings = load_settings()
    (location,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    command = services(settings)["dagster-code"].command
    assert server["socket"] == {"env": "DAGSTER_CODE_SOCKET"}
    environment = services(settings)["dagster-webserver"].environment
    assert environment["DAGSTER_CODE_SOCKET"] == command[command.index("--socket") + 1]
    assert server["location_name"] == command[command.index("--location-name") + 1]
    # the first -m is Python's: the server itself
    options = command[command.index("grpc") :]
    module, attribute = options[options.index("-m") + 1], options[options.index("-a") + 1]
    assert isinstance(getattr(sys.modules[module], attribute), dg.Definitions)
