"""Registry files through the real Kafka, lake and ClickHouse: a file, the same again, one with a station missing, a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import choice, randrange
from string import ascii_uppercase
from typing import Any

import pytest
from support import Lake, evcharge

from evcharge.connections import clickhouse
from evcharge.registry import feed
from evcharge.warehouse import schema

#: An invented state, so that no other test's stations are in the scope: no real one begins with these letters. Each run
#: has another one, because earlier runs may have left stations on a platform that stays.
STATE = choice("BEJQXY") + choice(ascii_uppercase)
FIRST_ID = 70_000_000 + 100 * randrange(100_000)

#: Loads a file and kills itself, as kill -9 does, once every row is acknowledged and before the state is written.
KILLED_BEFORE_THE_STATE = """
import os, signal, sys
from pathlib import Path
from random import choice, randrange
from string import ascii_uppercase
from evcharge.registry import feed, state
from evcharge.settings import load_settings

state.State.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
feed.load_file(load_settings(), Path(sys.argv[1]), scope=sys.argv[2])
"""

WriteFile = Callable[..., Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """A download with these stations, by number. Each has its fields that differ from the rest."""

    def write(**stations: dict[str, str]) -> Path:
        path = tmp_path / f"stations-{len(list(tmp_path.iterdir()))}.csv"
        rows = [
            {
                "Fuel Type Code": "ELEC",
                "ID": str(FIRST_ID + int(name.removeprefix("s"))),
                "Station Name": f"Registry test {name}",
                "City": "Boston",
                "State": STATE,
                "ZIP": "2114",
                "Country": "US",
                "Status Code": "E",
                "EV Level2 EVSE Num": "2",
                "EV DC Fast Count": "",
                "EV Connector Types": "J1772",
                "EV Network": "Non-Networked",
                "Latitude": "42.361",
                "Longitude": "-71.066",
                **fields,
            }
            for name, fields in stations.items()
        ]
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def load(path: Path, *options: str) -> dict[str, Any]:
    ended = evcharge("registry", "load", str(path), "--scope", STATE, "--json", *options)
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def warehouse(lake: Lake) -> dict[str, dict[str, Any]]:
    """The state's rows of `dim_station`, after everything that waits was loaded."""
    lake.publish_waiting()
    lake.load_waiting()
    columns = ("station_id", "station_name", "zip", "time_zone", "total_outlets", "source", "removed_at", "observed_at")
    rows = lake.query(f"SELECT {', '.join(columns)} FROM dim_station WHERE state = %(state)s", state=STATE)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def ids(*numbers: int) -> set[str]:
    return {f"afdc-{FIRST_ID + number}" for number in numbers}


def test_a_file_reaches_the_warehouse_and_nothing_is_sent_twice(lake: Lake, write_file: WriteFile) -> None:
    """One test, because each step continues from the state that the step before it left."""
    seven: dict[str, dict[str, str]] = {f"s{number}": {} for number in range(1, 8)}
    path = write_file(**seven)
    first = load(path)
    assert first["changes"]["new"] == 7
    found = warehouse(lake)
    assert found.keys() == ids(1, 2, 3, 4, 5, 6, 7)
    station = found[f"afdc-{FIRST_ID + 1}"]
    assert station["zip"] == "02114"
    assert station["time_zone"] == "America/New_York"
    assert (station["total_outlets"], station["source"], station["removed_at"]) == (2, "afdc", None)

    # the same again: no message, no row
    assert load(path)["published"] == 0
    assert warehouse(lake) == found

    # one of seven missing and one changed; a row of another state is refused
    kept = seven | {"s1": {"Station Name": "Renamed"}, "s8": {"State": "ZZ"}}
    kept.pop("s7")
    report = load(write_file(**kept))
    assert report["changes"] == {"new": 0, "changed": 1, "returned": 0, "gone": 1, "unchanged": 5}
    assert [problem["reason"] for problem in report["rejected"]] == ["OUTSIDE_SCOPE"]
    after = warehouse(lake)
    gone = after[f"afdc-{FIRST_ID + 7}"]
    assert gone["removed_at"] == gone["observed_at"]
    assert gone["station_name"] == "Registry test s7"
    assert after[f"afdc-{FIRST_ID + 1}"]["station_name"] == "Renamed"
    assert {key for key, row in after.items() if row["removed_at"] is None} == ids(1, 2, 3, 4, 5, 6)

    # two of six are a third
    refused = evcharge("registry", "load", str(write_file(s1={}, s2={}, s3={}, s4={})), "--scope", STATE)
    assert refused.returncode == 1
    assert f"2 of the 6 current stations in scope {STATE} are missing (33.3%" in refused.stderr
    assert warehouse(lake) == after

    # killed between Kafka's acknowledgement and the state, then repeated: rows are on Kafka twice, stations are not
    path = write_file(**{name: {} for name in ("s2", "s3", "s4", "s5", "s6", "s7", "s9")})
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_THE_STATE, str(path), STATE], env=os.environ.copy(), timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    assert feed.status(lake.settings)["pending"] == 3
    half_way = warehouse(lake)
    report = load(path)
    assert (report["completed"], report["published"]) == (3, 0)
    assert warehouse(lake) == half_way
    assert {key for key, row in half_way.items() if row["removed_at"] is None} == ids(2, 3, 4, 5, 6, 7, 9)
    assert half_way.keys() == ids(1, 2, 3, 4, 5, 6, 7, 9)


def test_a_warehouse_of_an_earlier_version_gets_the_column(lake: Lake) -> None:
    client = clickhouse(lake.settings)
    client.execute("ALTER TABLE dim_station DROP COLUMN removed_at")
    schema.apply(lake.settings)
    schema.apply(lake.settings)
    (described,) = [row for row in client.execute("DESCRIBE TABLE dim_station") if row[0] == "removed_at"]
    assert described[1] == "Nullable(DateTime64(3, 'UTC'))"
    assert described[4].startswith("When a snapshot of its scope no longer had it")
