"""The operator's page on a real ClickHouse: every table equals plain SQL over the facts, and its CSV file has the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from benchmarks.ten_million import write_ten_million
from evcharge.connections import clickhouse
from evcharge.errors import UserError
from evcharge.queries.client import Queries
from evcharge.queries.network import NetworkAnswer, NetworkQuestion
from evcharge.queries.network_facts import months_before
from evcharge.settings import Settings
from evcharge.warehouse import schema

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = "2025-12-01"
FAILED = "(energy_delivered_kwh = 0 OR (end_reason IN ('GroundFault', 'PowerLoss') AND duration_s < 300))"


@dataclass
class Warehouse:
    settings: Settings
    queries: Queries

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        client = clickhouse(self.settings)
        try:
            return [tuple(row) for row in client.execute(query)]
        finally:
            client.disconnect()

    def ask(self, **asked: Any) -> NetworkAnswer:
        return self.queries.network(NetworkQuestion(**asked), NOW)


def session(number: int, station: str, begun_at: datetime, minutes: float, **fields: Any) -> dict[str, Any]:
    ended_at = begun_at + timedelta(minutes=minutes)
    return {
        "session_id": f"own-{number}",
        "station_id": station,
        "evse_id": f"{station}-1",
        "connector_id": "1",
        "vehicle_id": "",
        "start_time_id": 0,
        "end_time_id": 0,
        "started_at": begun_at,
        "ended_at": ended_at,
        "local_date": begun_at.date(),
        "local_hour": begun_at.hour,
        "energy_delivered_kwh": 7,
        "duration_s": minutes * 60,
        "idle_s": None,
        "queue_wait_s": None,
        "soc_start_percent": None,
        "soc_end_percent": None,
        "end_reason": "Local",
        "publication_id": "own",
        "ev_model_id": "",
        **fields,
    }


@pytest.fixture(scope="module")
def warehouse(platform: Settings) -> Iterator[Warehouse]:
    """A database of its own: 20,000 sessions of 200 stations, and some sessions at ports of their own."""
    settings = platform.model_copy(update={"clickhouse_database": "network_test"})
    schema.apply(settings)
    write_ten_million(settings, sessions=20_000, stations=200, to=NOW)
    day = datetime(2026, 9, 29, 10, tzinfo=UTC)
    rows = [
        # out for a day, over the end of the month, until somebody charges again
        session(1, "own-a", day, 30, end_reason="GroundFault"),
        session(2, "own-a", day + timedelta(days=3), 30, end_reason="Local"),
        # the utility's fault, half an hour
        session(3, "own-b", day, 30, end_reason="PowerLoss"),
        session(4, "own-b", day + timedelta(minutes=60), 30),
        # out ever since
        session(5, "own-c", day, 4, end_reason="GroundFault"),
        # breaks the rules
        session(6, "own-d", day, 30, soc_start_percent=80.0, soc_end_percent=20.0, idle_s=7200.0),
        session(7, "many-000001", day, 6, energy_delivered_kwh=500),
        # long ago
        session(8, "own-d", datetime(2025, 11, 1, tzinfo=UTC), 30),
    ]
    client = clickhouse(settings)
    client.execute(f"INSERT INTO fact_charging_sessions ({', '.join(rows[0])}) VALUES", rows)
    client.disconnect()
    with Queries(settings) as queries:
        yield Warehouse(settings, queries)
    client = clickhouse(settings, database="default")
    client.execute("DROP DATABASE network_test")
    client.disconnect()


def rows_of(answer: NetworkAnswer, name: str) -> list[dict[str, Any]]:
    table = answer.table(name)
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in table.rows]


FILTERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "1"),
    ({"network": "Network 2"}, "s.network = 'Network 2'"),
    ({"state": "CA"}, "s.state = 'CA'"),
    ({"network": "Network 1", "state": "TX"}, "s.network = 'Network 1' AND s.state = 'TX'"),
    ({"months": 2}, "f.ended_at >= '2026-10-01'"),
)


@pytest.mark.parametrize(("asked", "condition"), FILTERS, ids=str)
def test_the_sums_equal_sql(warehouse: Warehouse, asked: dict[str, Any], condition: str) -> None:
    facts = (
        "fact_charging_sessions AS f LEFT JOIN dim_station AS s ON s.station_id = f.station_id "
        f"WHERE f.ended_at >= '{SINCE}' AND f.ended_at < '2026-12-01' AND {condition}"
    )
    sums = (
        "count(), round(sum(toFloat64(energy_delivered_kwh)), 3), "
        f"countIf({FAILED}), countIf(queue_wait_s > 0), countIf(end_reason IN ('GroundFault', 'PowerLoss'))"
    )
    answer = warehouse.ask(**asked)
    (expected,) = warehouse.sql(f"SELECT {sums}, sum(ifNull(idle_s, 0)) / 3600 FROM {facts}")
    names = ("sessions", "energy_kwh", "failed_starts", "waits", "faults")
    assert tuple(answer.summary[name] for name in names) == pytest.approx(expected[:-1])
    assert answer.summary["idle_h"] == pytest.approx(expected[-1], abs=0.05)
    assert expected[0]

    by_station = {row["station_id"]: tuple(row[name] for name in names) for row in rows_of(answer, "stations")}
    in_sql = {
        row[0]: row[1:] for row in warehouse.sql(f"SELECT f.station_id, {sums} FROM {facts} GROUP BY f.station_id")
    }
    assert {name: by_station[name] for name in in_sql} == {name: pytest.approx(row) for name, row in in_sql.items()}
    assert not any(any(row) for name, row in by_station.items() if name not in in_sql)

    hours = {row["hour"]: (row["sessions"], row["waits"]) for row in rows_of(answer, "hours") if row["sessions"]}
    if not asked.get("months"):
        by_hour = f"SELECT f.local_hour, count(), countIf(queue_wait_s > 0) FROM {facts} GROUP BY 1"
        assert hours == {hour: tuple(rest) for hour, *rest in warehouse.sql(by_hour)}
    months = {row["month"]: tuple(row[name] for name in names) for row in rows_of(answer, "monthly") if row["sessions"]}
    in_months = warehouse.sql(
        f"SELECT formatDateTime(f.ended_at, '%Y-%m', 'UTC') AS month, {sums} FROM {facts} GROUP BY month"
    )
    assert months == {row[0]: pytest.approx(row[1:]) for row in in_months}

    classes = {row["power_class"]: row["sessions"] for row in rows_of(answer, "by_power_class") if row["sessions"]}
    case = (
        "multiIf(ifNull(s.max_power_kw, 0) = 0, 'power unknown', s.max_power_kw < 19.3, 'AC', s.max_power_kw < 100, "
        "'DC below 100 kW', s.max_power_kw < 250, 'DC 100 to 249 kW', 'DC from 250 kW')"
    )
    assert classes == dict(warehouse.sql(f"SELECT {case}, count() FROM {facts} GROUP BY 1"))

    waits = {row["station_id"]: row["waits"] for row in answer.heatmap["rows"]}
    top = warehouse.sql(f"SELECT f.station_id, f.local_hour, count() FROM {facts} AND queue_wait_s > 0 GROUP BY 1, 2")
    for station_id, hour, count in top:
        if station_id in waits:
            assert waits[station_id][hour] == count
    assert len(waits) == min(25, len({station_id for station_id, *_ in top}))
    orjson.dumps(answer.to_json())


def test_uptime_follows_the_regulation(warehouse: Warehouse) -> None:
    """23 CFR 680.116(b)(3): (525,600 - (outage - excluded)) / 525,600."""
    answer = warehouse.ask()
    ports = {row["evse_id"]: row for row in rows_of(answer, "uptime")}
    three_days_min = 3 * 1440 - 30
    a, b, c = (ports[f"own-{name}-1"] for name in "abc")
    assert (a["outages"], a["outage_min"], a["excluded_min"], a["is_out"]) == (1, three_days_min, 0.0, False)
    assert a["uptime_percent"] == pytest.approx(100 * (525_600 - three_days_min) / 525_600, abs=0.001)
    assert (b["outage_min"], b["excluded_min"], b["uptime_percent"]) == (30.0, 30.0, 100.0)
    assert c["is_out"]
    assert answer.data_to is not None
    end = datetime.fromisoformat(answer.data_to)
    out_min = (end - datetime(2026, 9, 29, 10, 4, tzinfo=UTC)) / timedelta(minutes=1)
    assert c["outage_min"] == pytest.approx(out_min, abs=0.1)
    assert not c["is_enough"]
    assert a["is_enough"]
    # every port, by windows over its sessions
    next_start = (
        "leadInFrame(toDateTime(started_at, 'UTC'), 1, toDateTime('2100-01-01', 'UTC')) OVER (PARTITION BY station_id, evse_id "
        "ORDER BY started_at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
    )
    in_sql = warehouse.sql(
        f"""SELECT evse_id, count(), sum(dateDiff('second', ended, least(next_at, toDateTime('{end:%F %T}', 'UTC')))) / 60
        FROM (
            SELECT evse_id, toDateTime(ended_at, 'UTC') AS ended, end_reason, {next_start} AS next_at
            FROM fact_charging_sessions WHERE ended_at >= '{SINCE}'
        ) WHERE end_reason IN ('GroundFault', 'PowerLoss') GROUP BY evse_id"""
    )
    assert {name: (row["outages"], row["outage_min"]) for name, row in ports.items()} == {
        name: (count, pytest.approx(minutes, abs=0.2)) for name, count, minutes in in_sql
    }


def test_faults_and_rules_name_what_is_wrong(warehouse: Warehouse) -> None:
    answer = warehouse.ask()
    faults = {row["station_id"]: (row["ground_faults"], row["power_losses"]) for row in rows_of(answer, "faults")}
    in_sql = warehouse.sql(
        "SELECT station_id, countIf(end_reason = 'GroundFault') AS g, countIf(end_reason = 'PowerLoss') AS p "
        f"FROM fact_charging_sessions WHERE ended_at >= '{SINCE}' GROUP BY station_id HAVING g + p > 0"
    )
    assert faults == {name: (ground, power) for name, ground, power in in_sql}
    broken = {(row["network"], row["rule"]): row["broken"] for row in rows_of(answer, "data_quality") if row["broken"]}
    (known,) = warehouse.sql("SELECT network FROM dim_station WHERE station_id = 'many-000001'")
    assert broken == {
        ("", "STATION_IS_KNOWN"): 6,
        ("", "SOC_DOES_NOT_FALL"): 1,
        ("", "IDLE_FITS_STAY"): 1,
        (known[0], "ENERGY_FITS_POWER"): 1,
    }


def test_silent_stations_are_open_ones(warehouse: Warehouse) -> None:
    client = clickhouse(warehouse.settings)
    client.execute(
        "INSERT INTO dim_station SELECT * REPLACE ('own-silent' AS station_id, 'E' AS status_code) FROM dim_station LIMIT 1"
    )
    client.execute(
        "INSERT INTO dim_station SELECT * REPLACE ('own-planned' AS station_id, 'P' AS status_code) FROM dim_station LIMIT 1"
    )
    client.execute("INSERT INTO loaded_day VALUES ('dim_station', '1970-01-01', 'c', 1, 'r', now64(3), '')")
    client.disconnect()
    with Queries(warehouse.settings) as queries:
        answer = queries.network(NetworkQuestion(), NOW)
    silent = {row["station_id"]: row["last_session_at"] for row in rows_of(answer, "silent_stations")}
    assert silent["own-silent"] is None
    assert "own-planned" not in silent
    assert "many-000000" not in silent


def test_a_loaded_day_is_read_again(warehouse: Warehouse) -> None:
    before = warehouse.ask().summary["sessions"]
    facts = warehouse.queries._facts
    row = session(99, "own-e", datetime(2026, 10, 3, 9, tzinfo=UTC), 30)
    client = clickhouse(warehouse.settings)
    client.execute(f"INSERT INTO fact_charging_sessions ({', '.join(row)}) VALUES", [row])
    client.execute("INSERT INTO loaded_day VALUES ('fact_charging_sessions', '2026-10-03', 'c', 1, 'r', now64(3), '')")
    client.disconnect()
    kept = {first: rows for first, rows in facts._rows.items() if f"{first:%Y-%m}" != "2026-10"}
    with facts._lock:  # a renewal beside the question before may still run
        facts._renew(NOW)
    assert warehouse.ask().summary["sessions"] == before + 1
    assert all(facts._rows[first] is rows for first, rows in kept.items())


def test_the_csv_file_has_the_tables_rows(warehouse: Warehouse) -> None:
    answer = warehouse.ask()
    for table in answer.tables.values():
        lines = list(csv.reader(io.StringIO(table.to_csv())))
        assert lines[0] == [column.key for column in table.columns]
        assert len(lines) == len(table.rows) + 1
    first = rows_of(answer, "stations")[0]
    line = next(csv.DictReader(io.StringIO(answer.table("stations").to_csv())))
    assert (line["station_id"], int(line["sessions"])) == (first["station_id"], first["sessions"])


def test_an_unknown_network_has_nothing_and_says_so(warehouse: Warehouse) -> None:
    answer = warehouse.ask(network="'; DROP TABLE dim_station; --")
    assert answer.summary["sessions"] == 0
    assert answer.note == "no session of these stations has ended in these months"
    with pytest.raises(UserError, match="no table 'nothing'"):
        answer.table("nothing")


def test_without_a_warehouse_the_error_says_so(platform: Settings) -> None:
    with (
        Queries(platform.model_copy(update={"clickhouse_database": "nothing_here"})) as queries,
        pytest.raises(UserError, match="there is no warehouse yet"),
    ):
        queries.network(NetworkQuestion(), NOW)


def test_twelve_months_end_with_this_one() -> None:
    months = months_before(datetime(2026, 2, 28, 23, tzinfo=UTC), 12)
    assert (f"{months[0]}", f"{months[-1]}", len(months)) == ("2025-03-01", "2026-02-01", 12)
