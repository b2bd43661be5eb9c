"""Which runs read days of sessions in full: those that a person asked for, and no sensor's."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
import pytest
from lake_in_memory import PlatformInMemory

from evcharge.settings import load_settings
from evcharge.warehouse.tables import FACT, LoadReport
from evcharge_assets.warehouse import session_assets, table_key

DAY = date(2026, 11, 20)


class NoSpark(dg.ConfigurableResource):
    spark_session: str = "no session"


@pytest.mark.parametrize(
    ("tags", "in_full"), [({}, True), ({"dagster/sensor_name": "load_merged_days"}, False)], ids=["person", "sensor"]
)
def test_a_sensor_s_run_reads_what_is_new(
    tags: dict[str, str],
    in_full: bool,
    instance: dg.DagsterInstance,
    platform_in_memory: PlatformInMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[list[date], bool]] = []

    def load(
        _settings: object, _repository: object, _spark: object, days: list[date], _run_id: str, **options: Any
    ) -> Any:
        asked.append((days, options["in_full"]))
        return LoadReport("head", {DAY: 7}, added_to=() if options["in_full"] else (DAY,))

    monkeypatch.setattr("evcharge.warehouse.load_sessions.load_sessions", load)
    done = dg.materialize(
        session_assets(load_settings())[:1],
        instance=instance,
        partition_key=DAY.isoformat(),
        tags=tags,
        resources={"platform": platform_in_memory, "pyspark": NoSpark()},
    )
    assert asked == [([DAY], in_full)]
    (fact,) = (e for e in done.get_asset_materialization_events() if e.asset_key == table_key(FACT))
    metadata = fact.materialization.metadata
    assert (metadata["days"].value, metadata["days_added_to"].value) == (1, 0 if in_full else 1)
