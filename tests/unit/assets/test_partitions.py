"""Partitions: the running hour and day are among them, recorded years fit, and Dagster's limit stays far away."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from evcharge.lake.ledger import OffsetRange
from evcharge.settings import load_settings
from evcharge_assets.definitions import defs
from evcharge_assets.partitions import (
    GAP_DAYS,
    contiguous,
    event_days,
    event_hours,
    hour_key,
    ingest_hour,
    ingest_hours,
)

#: Dagster's documentation advises fewer partitions than this for an asset: its pages get slow.
UI_LIMIT = 100_000
YEARS = 10
#: Hours of events since 2018 reach the limit in 2029. A later EVCHARGE_EVENT_DAYS_FROM puts that off.
YEARS_OF_EVENT_HOURS = 2

settings = load_settings()
NOON = datetime(2027, 3, 4, 12, 34, 56, tzinfo=UTC)


def test_the_running_hour_and_day_are_partitions() -> None:
    assert ingest_hours(settings).get_partition_keys(current_time=NOON)[-1] == hour_key(NOON) == "2027-03-04-12:00"
    assert event_days(settings).get_partition_keys(current_time=NOON)[-1] == "2027-03-04"


def test_recorded_years_fit() -> None:
    assert event_days(settings).get_partition_keys(current_time=NOON)[0] == settings.event_days_from == "2018-01-01"


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", sorted(defs.resolve_asset_graph().get_all_asset_keys()), ids=lambda k: k.to_user_string()
)
def test_the_pages_stay_quick_for_years(key: dg.AssetKey) -> None:
    partitions = defs.resolve_asset_graph().get(key).partitions_def
    if partitions is not None:
        of_events = partitions == event_hours(settings)
        later = datetime.now(UTC) + timedelta(days=366 * (YEARS_OF_EVENT_HOURS if of_events else YEARS))
        assert len(partitions.get_partition_keys(current_time=later)) < UI_LIMIT


def test_an_hour_is_the_same_in_dagster_and_in_the_lake() -> None:
    planned = OffsetRange("session-events", "id", {0: 0}, {0: 1}, NOON)
    assert ingest_hour(hour_key(planned.planned_at)) == planned.ingest_hour == "2027-03-04-12"


def test_days_are_asked_for_in_few_ranges() -> None:
    first = date(2019, 5, 1)
    near, far = first + timedelta(days=GAP_DAYS), first + timedelta(days=2 * GAP_DAYS + 1)
    assert contiguous([]) == []
    assert contiguous([far, first, near]) == [(first, near), (far, far)]
