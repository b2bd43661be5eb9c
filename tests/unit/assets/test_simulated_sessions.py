"""Simulated days in Dagster: a partition continues the one before it, a range is one run, a refusal is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, Contract
from evcharge.settings import load_settings
from evcharge.simulated import past_days as simulated_days
from evcharge_assets.definitions import defs
from evcharge_assets.kafka import SIMULATED_SESSIONS, topic_key
from evcharge_assets.partitions import ended_days
from evcharge_assets.resources import Platform
from evcharge_assets.simulation import DAYS_PER_RUN, simulated_sessions_asset

graph = defs.resolve_asset_graph()


class CountingKafka:
    """Takes everything, into one partition."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Mapping[str, Any]]] = []

    def publish(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
        first = len(self.rows)
        self.rows.extend((contract.topic, row) for row in rows)
        return [(0, first + number) for number in range(len(rows))]

    def __enter__(self) -> CountingKafka:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingKafka:
    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    monkeypatch.setenv("EVCHARGE_SIMULATION_STATIONS", "8")
    monkeypatch.setenv("EVCHARGE_SIMULATION_VEHICLES", "60")
    kafka = CountingKafka()
    defaults = simulated_days.simulate_past_day.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "open_publisher", lambda _: kafka)
    return kafka


def materialize(
    instance: dg.DagsterInstance, first: str, last: str | None = None
) -> tuple[dg.ExecuteInProcessResult, dict[str, dict[str, Any]]]:
    """Launches a day, or a range as a backfill does. Returns the result and the metadata of each partition."""
    chosen: dict[str, Any] = {"partition_key": first}
    if last is not None:
        chosen = {"tags": {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}}
    result = dg.materialize(
        [simulated_sessions_asset(load_settings())],
        resources={"platform": Platform()},
        instance=instance,
        raise_on_error=False,
        **chosen,
    )
    metadata: dict[str, dict[str, Any]] = {}
    for event in result.get_asset_materialization_events():
        found = event.step_materialization_data.materialization
        assert found.partition is not None
        metadata[found.partition] = {name: value.value for name, value in found.metadata.items()}
    return result, metadata


@pytest.mark.slow
def test_a_day_continues_the_day_before(instance: dg.DagsterInstance, kafka: CountingKafka) -> None:
    _, first = materialize(instance, "2026-03-07")
    result, second = materialize(instance, "2026-03-08")
    assert result.success
    events = [row for topic, row in kafka.rows if topic == SESSION_EVENTS.topic]
    for day, of_day in {**first, **second}.items():
        assert of_day["events"] == sum(row["occurred_at"].date().isoformat() == day for row in events) > 0
        assert of_day.keys() >= {"sessions", "energy_kwh", "wall_s", "ledger_hash", "state_bytes", "already_simulated"}
    assert sum(topic == STATION_REGISTRY.topic for topic, _ in kafka.rows) == 8


@pytest.mark.slow
def test_a_range_is_one_run_with_metadata_of_each_day(instance: dg.DagsterInstance, kafka: CountingKafka) -> None:
    result, days = materialize(instance, "2026-03-07", "2026-03-09")
    assert result.success
    assert list(days) == ["2026-03-07", "2026-03-08", "2026-03-09"]
    assert len({of_day["ledger_hash"] for of_day in days.values()}) == 3
    messages = len(kafka.rows)
    _, again = materialize(instance, "2026-03-08", "2026-03-09")
    for day, of_day in again.items():
        assert of_day["already_simulated"]
        assert of_day["ledger_hash"] == days[day]["ledger_hash"]
    assert len(kafka.rows) == messages


def test_a_missing_day_fails_with_one_line_that_names_it(instance: dg.DagsterInstance, kafka: CountingKafka) -> None:
    materialize(instance, "2026-03-07")
    result, days = materialize(instance, "2026-03-10")
    assert not result.success
    assert not days
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    refusal = failure.step_failure_data.user_failure_data
    assert refusal is not None
    assert str(refusal.description).endswith(
        "2026-03-08 is not simulated: launch the backfill from 2026-03-08 to 2026-03-10"
    )


def test_a_day_depends_on_the_day_before() -> None:
    """Dagster's backfill keeps to this order, and puts DAYS_PER_RUN days into one run."""
    node = graph.get(SIMULATED_SESSIONS)
    mapping = node.partition_mappings[SIMULATED_SESSIONS]
    days = ended_days(load_settings())
    upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
        days.subset_with_partition_keys(["2026-03-08", "2026-03-10"]), days, days
    )
    assert set(upstream.partitions_subset.get_partition_keys()) == {"2026-03-07", "2026-03-09"}
    assert node.backfill_policy == dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN)


def test_only_days_that_are_over_are_partitions() -> None:
    days = ended_days(load_settings())
    noon = datetime(2027, 3, 4, 12, 34, 56, tzinfo=UTC)
    assert days.get_partition_keys(current_time=noon)[-1] == (noon - timedelta(days=1)).date().isoformat()
    assert graph.get(SIMULATED_SESSIONS).partitions_def == days


def test_one_run_simulates_at_a_time() -> None:
    assert graph.get(SIMULATED_SESSIONS).pools == {"simulated_days"}


@pytest.mark.parametrize("contract", [SESSION_EVENTS, STATION_REGISTRY])
def test_lineage_leads_from_simulated_days_to_the_topics(contract: Contract) -> None:
    assert SIMULATED_SESSIONS in graph.get(topic_key(contract.topic)).parent_keys
