"""Snapshots become messages: only what changed, gone only within the scope, the same after a kill."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from afdc_downloads import DOWNLOADED, RecordingKafka, WriteCsv, publish_with
from afdc_server import electric
from typer.testing import CliRunner

from evcharge.connections import ServerDownError
from evcharge.feeds.sent_ledger import read_sent
from evcharge.registry import feed, state
from evcharge.registry.feed import LoadReport, load_file
from evcharge.registry.snapshot import RegistryError, Scope, VanishingError
from evcharge.settings import Settings

#: Places that fit other states than that of DOWNLOADED.
NEW_YORK = {"State": "NY", "Latitude": "42.65", "Longitude": "-73.75"}
ONTARIO = {"State": "ON", "Country": "CA", "Latitude": "45.42", "Longitude": "-75.70"}

NOW = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Registry:
    """Loads files one after the other, a minute apart."""

    def __init__(self, settings: Settings, kafka: RecordingKafka) -> None:
        self.settings, self.kafka, self.now = settings, kafka, NOW

    def load(self, path: Path, scope: str | None = "all", **options: Any) -> LoadReport:
        self.now += timedelta(minutes=1)
        return load_file(self.settings, path, scope=scope, open_publisher=self.kafka, now=self.now, **options)

    def current(self) -> set[str]:
        return {row["station_id"] for row in feed.known_stations(self.settings)}


@pytest.fixture
def registry(settings: Settings, kafka: RecordingKafka) -> Registry:
    return Registry(settings, kafka)


def stations(first: int, last: int, **fields: str) -> list[dict[str, str]]:
    return [{"ID": str(number), **fields} for number in range(first, last + 1)]


def test_a_first_load_publishes_all_and_a_second_one_nothing(registry: Registry, write_csv: WriteCsv) -> None:
    path = write_csv(*stations(1, 10))
    first = registry.load(path)
    assert first.changes == {"new": 10, "changed": 0, "returned": 0, "gone": 0, "unchanged": 0}
    assert first.topic_offsets == {"station-registry": {0: 10}}
    second = registry.load(path)
    assert second.changes["unchanged"] == 10
    assert second.published == 0
    assert len(registry.kafka.rows) == 10
    assert registry.kafka.opened == 1, "nothing to publish needs no Kafka"
    row = registry.kafka.rows[0]
    assert row["observed_at"] == "2026-05-01T12:01:00.123Z"
    assert row["snapshot_scope"] == "all"
    assert "removed_at" not in row


def test_only_what_changed_is_published(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)))
    report = registry.load(write_csv(*stations(1, 8), {"ID": "9", "EV Level2 EVSE Num": "6"}, *stations(10, 11)))
    assert report.changes == {"new": 1, "changed": 1, "returned": 0, "gone": 0, "unchanged": 9}
    assert {row["station_id"] for row in registry.kafka.rows[10:]} == {"afdc-9", "afdc-11"}


def test_a_missing_station_is_gone_and_may_return(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)))
    assert registry.load(write_csv(*stations(1, 9))).changes["gone"] == 1
    gone = registry.kafka.rows[-1]
    assert gone["station_id"] == "afdc-10"
    assert gone["station_name"] == "City Garage"
    assert gone["removed_at"] == gone["observed_at"] == "2026-05-01T12:02:00.123Z"
    assert registry.load(write_csv(*stations(1, 9))).published == 0, "gone once is gone"
    report = registry.load(write_csv(*stations(1, 10)))
    assert report.changes["returned"] == 1
    assert "removed_at" not in registry.kafka.rows[-1]
    assert "afdc-10" in registry.current()


def test_gone_is_judged_within_the_scope_only(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)), "MA")
    registry.load(write_csv(*stations(11, 20, **NEW_YORK)), "NY")
    registry.load(write_csv(*stations(31, 40, **{"EV Network": "Synthetic"})), "source")
    registry.load(write_csv(*stations(41, 45, **ONTARIO)), "ON")
    assert registry.load(write_csv(*stations(1, 9)), "MA").changes["gone"] == 1
    assert registry.load(write_csv(*stations(1, 9)), None).changes["gone"] == 0, "undeclared"
    # all of AFDC's in the US: neither the synthetic ones nor Canada's, which this snapshot does not show
    assert registry.load(write_csv(*stations(1, 8), *stations(11, 19, **NEW_YORK)), "all").changes["gone"] == 2
    assert len([key for key in registry.current() if key.startswith("syn-")]) == 10
    report = registry.load(write_csv(*stations(1, 8), *stations(11, 19)), "source", confirm_removals=True)
    assert report.changes["gone"] == 5, "Canada's"


def test_a_station_that_moved_to_another_state_is_not_gone(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)), "MA")
    report = registry.load(write_csv(*stations(1, 9), {"ID": "10", "State": "RI"}), "MA")
    assert report.changes["gone"] == 0
    assert [(p.row, p.reason) for p in report.rejected] == [(11, "OUTSIDE_SCOPE")]


def test_an_unreadable_row_is_not_gone(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)))
    report = registry.load(write_csv(*stations(1, 9), {"ID": "10", "Latitude": "900"}))
    assert (report.changes["gone"], len(report.rejected)) == (0, 1)
    assert "afdc-10" in registry.current()


def unquoted_comma(text: str) -> str:
    return text.replace("City Garage", "City, Garage", 1)


def open_quote(text: str) -> str:
    """In the third row, up to the quotes of the last one."""
    lines = text.splitlines(keepends=True)
    lines[3] = lines[3].replace("City Garage", '"City Garage')
    lines[-1] = lines[-1].replace("City Garage", '"City, Garage"')
    return "".join(lines)


def no_id(text: str) -> str:
    return text.replace(",9,2025", ",,2025")


def no_number(text: str) -> str:
    return text.replace(",9,2025", ",9E+00,2025")


def id_of_another(text: str) -> str:
    return text.replace(",9,2025", ",8,2025")


def moved_cells(text: str) -> str:
    """A comma too many and a cell too few: the row has the right width."""
    return text.replace("City Garage", "City, Garage", 1).replace(",J1772,US", ",US", 1)


def wrong_fuel(text: str) -> str:
    return text.replace("ELEC", "LEC", 1)


def cut_in_the_last_line(text: str) -> str:
    return text[:-4]


def cut_in_the_last_word(text: str) -> str:
    """The last row seems whole, but its country does not."""
    return text[:-2]


@pytest.mark.parametrize(
    "damage",
    [
        unquoted_comma,
        open_quote,
        no_id,
        no_number,
        id_of_another,
        moved_cells,
        wrong_fuel,
        cut_in_the_last_line,
        cut_in_the_last_word,
    ],
)
def test_a_damaged_file_removes_nothing(registry: Registry, write_csv: WriteCsv, damage: Callable[[str], str]) -> None:
    """Neither the station of the row that cannot be read, nor the one that the file lacks."""
    registry.load(write_csv(*stations(1, 10)))
    path = write_csv(*stations(1, 9))
    text = path.read_bytes().decode()
    assert damage(text) != text
    path.write_bytes(damage(text).encode())
    report = registry.load(path)
    assert report.changes["gone"] == 0
    assert report.kept >= 1
    assert report.published == report.changes["changed"]
    assert len(registry.current()) == 10
    assert "and not marked gone: " in report.notes[-1]
    assert registry.load(path, confirm_removals=True).changes["gone"] == report.kept


def test_a_list_of_the_api_that_was_cut_short_removes_nothing(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"total_results": 10, "fuel_stations": [electric(n) for n in range(1, 11)]}))
    registry.load(path)
    path.write_text(json.dumps({"total_results": 10, "fuel_stations": [electric(n) for n in range(1, 10)]}))
    report = registry.load(path)
    assert (report.changes["gone"], report.kept) == (0, 1)
    # in JSON a record's id is known by its name, whatever else is wrong
    bad = electric(1, latitude=None)
    path.write_text(json.dumps({"fuel_stations": [bad, *(electric(n) for n in range(2, 10))]}))
    assert registry.load(path).changes["gone"] == 1


def test_a_place_that_does_not_fit_leaves_the_station_as_it_was(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)))
    report = registry.load(write_csv(*stations(1, 8), {"ID": "9", "Longitude": "71.066"}))
    assert [(p.row, p.station_id, p.reason) for p in report.rejected] == [(10, "afdc-9", "PLACE_DOES_NOT_FIT")]
    assert report.changes["gone"] == 1, "the id of the row is known, so afdc-10 is missing"
    assert "afdc-9" in registry.current()


def units_file(write_csv: WriteCsv, *units: dict[str, str], name: str = "units.csv", **station: str) -> Path:
    """A download of charging units: a row for each unit, the station's columns repeated in it."""
    columns = [*DOWNLOADED]
    for connector in ("J1772", "CCS", "CHAdeMO", "J3400", "J3271"):
        columns += [f"EV {connector} Connector Count", f"EV {connector} Power Output (kW)"]
    common = {"EV Level2 EVSE Num": "", "EV DC Fast Count": "4", "EV Connector Types": "J1772COMBO J3400"}
    return write_csv(*({**common, **station, **unit} for unit in units), name=name, columns=columns)


CCS = {"EV CCS Connector Count": "1", "EV CCS Power Output (kW)": "350"}
NACS = {"EV J3400 Connector Count": "2", "EV J3400 Power Output (kW)": "250.0"}
POWER = [
    {"connector_type": "J1772COMBO", "power_kw": 350.0, "ports": 2},
    {"connector_type": "TESLA", "power_kw": 250.0, "ports": 2},
]


def test_a_row_for_each_charging_unit(registry: Registry, write_csv: WriteCsv) -> None:
    path = units_file(write_csv, CCS, CCS, NACS, {"ID": "2", **CCS})
    report = registry.load(path, "MA")
    assert (report.stations, report.changes["new"], report.rejected) == (2, 2, [])
    row = registry.kafka.newest()["afdc-1"]
    assert (row["connectors"], row["total_outlets"], row["connector_types"]) == (POWER, 4, ["J1772COMBO", "TESLA"])
    assert registry.load(path, "MA").published == 0
    other_order = units_file(write_csv, {"ID": "2", **CCS}, NACS, CCS, CCS)
    assert registry.load(other_order, "MA").published == 0


def test_units_say_the_outlets_where_the_levels_are_missing(registry: Registry, write_csv: WriteCsv) -> None:
    lines = units_file(write_csv, CCS, CCS, NACS).read_text(encoding="utf-8-sig").splitlines()
    rows = [*csv.reader(lines)]
    kept = [place for place, name in enumerate(rows[0]) if "EVSE Num" not in name and "DC Fast" not in name]
    path = write_csv(name="no-levels.csv")
    path.write_text("".join(",".join(row[place] for place in kept) + "\n" for row in rows))
    registry.load(path)
    row = registry.kafka.newest()["afdc-1"]
    assert (row["total_outlets"], row["connectors"]) == (4, POWER)


def test_the_kinds_of_file_do_not_take_turns(registry: Registry, write_csv: WriteCsv) -> None:
    """A file of stations knows no power, and one of another maker no status: what is known stays."""
    of_units = units_file(write_csv, CCS, CCS, NACS, **{"Status Code": "T"})
    fields = {
        "EV Level2 EVSE Num": "",
        "EV DC Fast Count": "4",
        "EV Connector Types": "J1772COMBO TESLA",
        "Status Code": "T",
    }
    of_stations = write_csv(fields)
    short = [
        name for name in DOWNLOADED if name not in ("Status Code", "EV Network", "City", "ZIP", "EV Connector Types")
    ]
    without = write_csv(fields, name="short.csv", columns=short)
    assert registry.load(of_stations).changes["new"] == 1
    assert registry.load(of_units).changes["changed"] == 1, "now the power is known"
    for path in (of_stations, without, of_units, without, of_stations):
        assert registry.load(path).published == 0
    assert registry.kafka.newest()["afdc-1"]["status_code"] == "T"
    # a station that changed has new connectors
    report = registry.load(write_csv({**fields, "EV DC Fast Count": "6"}))
    assert report.changes["changed"] == 1
    assert registry.kafka.newest()["afdc-1"]["connectors"][0]["ports"] == 6


def test_an_estimate_replaces_an_estimate(registry: Registry, write_csv: WriteCsv) -> None:
    """The ports moved to another level. Types and number of outlets are the same."""
    types = {"EV Connector Types": "J1772 TESLA"}
    registry.load(write_csv({**types, "EV Level2 EVSE Num": "4"}))
    assert (
        registry.load(write_csv({**types, "EV Level2 EVSE Num": "2", "EV DC Fast Count": "2"})).changes["changed"] == 1
    )
    ports = {row["connector_type"]: row["ports"] for row in registry.kafka.newest()["afdc-1"]["connectors"]}
    assert ports == {"J1772": 2, "TESLA": 4}


def test_a_unit_that_cannot_be_read_takes_no_ports_away(registry: Registry, write_csv: WriteCsv) -> None:
    path = units_file(write_csv, CCS, CCS, NACS)
    registry.load(path)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].replace("City Garage", "City, Garage"), *lines[3:]]) + "\n")
    report = registry.load(path)
    assert (report.published, [p.reason for p in report.rejected]) == (0, ["WRONG_COLUMN_COUNT"])


def test_a_unit_with_the_id_of_another_station_is_reported(registry: Registry, write_csv: WriteCsv) -> None:
    path = units_file(write_csv, CCS, {**CCS, "Station Name": "Other Garage"}, {**NACS, "ID": ""})
    report = registry.load(path)
    assert report.stations == 1
    assert [(p.row, p.reason) for p in report.rejected] == [(3, "DUPLICATE_ID"), (4, "MISSING_ID")]


def test_more_than_a_fifth_at_once_must_be_confirmed(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 10)))
    assert registry.load(write_csv(*stations(1, 8))).changes["gone"] == 2, "a fifth is believed"
    published = len(registry.kafka.rows)
    with pytest.raises(VanishingError, match=r"2 of the 8 current stations in scope all are missing \(25\.0%"):
        registry.load(write_csv(*stations(3, 8)))
    assert len(registry.kafka.rows) == published
    assert len(registry.current()) == 8
    assert registry.load(write_csv(*stations(3, 8)), confirm_removals=True).changes["gone"] == 2


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_killed_load_repeated_ends_as_if_it_had_not_been_killed(
    settings: Settings,
    kafka: RecordingKafka,
    write_csv: WriteCsv,
    monkeypatch: pytest.MonkeyPatch,
    acknowledged: bool,
) -> None:
    """Killed while Kafka takes the rows, or between their acknowledgement and the state."""
    registry = Registry(settings, kafka)
    registry.load(write_csv(*stations(1, 10)))
    path = write_csv(*stations(1, 9), {"ID": "11"})
    kafka.fail_after = None if acknowledged else ServerDownError("kafka does not answer")
    with monkeypatch.context() as killed:
        if acknowledged:
            killed.setattr(state.State, "apply", _killed)
        with pytest.raises(ServerDownError):
            registry.load(path)
    kafka.fail_after = None
    assert feed.status(settings)["pending"] == 2
    report = registry.load(path)
    assert (report.completed, report.published) == (2, 0)
    assert report.topic_offsets == {"station-registry": {0: 14}}
    newest = kafka.newest()
    assert {key for key, row in newest.items() if "removed_at" in row} == {"afdc-10"}
    assert registry.current() == {key for key, row in newest.items() if "removed_at" not in row}
    times = {row["observed_at"] for row in kafka.rows if row["station_id"] in ("afdc-10", "afdc-11")}
    assert times == {"2026-05-01T12:01:00.123Z", "2026-05-01T12:02:00.123Z"}, "the same rows were sent again"
    assert feed.status(settings)["pending"] == 0
    ledger = Counter(read_sent(settings, "afdc")["event_id"].to_pylist())
    assert len(ledger) == 12
    assert set(ledger.values()) == {1}


def _killed(*_: object) -> None:
    raise ServerDownError("killed here")


def test_another_file_after_a_kill_completes_the_first_one(
    registry: Registry, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(state.State, "apply", _killed)
        with pytest.raises(ServerDownError):
            registry.load(write_csv(*stations(1, 5)), "MA")
    report = registry.load(write_csv(*stations(11, 12, **NEW_YORK)), "NY")
    assert (report.completed, report.published) == (5, 2)
    assert len(registry.current()) == 7


def test_a_clock_that_was_set_back_does_not_hide_a_change(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 2)))
    registry.now -= timedelta(days=1)
    registry.load(write_csv({"ID": "1", "Status Code": "T"}, {"ID": "2"}))
    assert registry.kafka.newest()["afdc-1"]["status_code"] == "T"


def test_an_older_snapshot_is_loaded_and_noted(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv(*stations(1, 2)))
    report = registry.load(write_csv(*stations(1, 2, **{"Updated At": "2019-02-12 00:00:00 UTC"})))
    assert report.notes == ["older than the last snapshot of this scope, which was as of 2025-02-12"]


def test_two_loads_at_once(registry: Registry, write_csv: WriteCsv) -> None:
    path = write_csv({})
    with state.only_one(registry.settings), pytest.raises(RegistryError, match="another process"):
        registry.load(path)


def test_an_unreadable_state(registry: Registry, write_csv: WriteCsv) -> None:
    registry.load(write_csv({}))
    (state.folder(registry.settings) / "state.json.gz").write_bytes(b"{")
    with pytest.raises(RegistryError, match=r"state\.json\.gz cannot be read"):
        registry.load(write_csv({}))


@pytest.mark.parametrize(("text", "name"), [(None, "undeclared"), ("ALL", "all"), ("source", "source"), ("ny", "NY")])
def test_scopes(text: str | None, name: str) -> None:
    assert Scope.parse(text).name == name


@pytest.mark.parametrize("text", ["New York", "N1", "", "everything"])
def test_no_scopes(text: str) -> None:
    with pytest.raises(RegistryError, match="is neither all, nor source"):
        Scope.parse(text)


@pytest.mark.slow
def test_new_york_then_washington_twice(registry: Registry, shared_registry: Path) -> None:
    new_york = shared_registry / "afdc_ny_2025-04-21.csv.gz"
    assert registry.load(new_york, "NY").changes["new"] == 4736
    assert registry.load(new_york, "NY").published == 0
    registry.load(shared_registry / "afdc_wa_2023-03-28.csv.gz", "WA")
    report = registry.load(shared_registry / "afdc_wa_2025-02-09.csv.gz", "WA")
    assert report.changes == {"new": 1125, "changed": 518, "returned": 0, "gone": 294, "unchanged": 830}
    states = Counter((row["state"], "removed_at" in row) for row in registry.kafka.newest().values())
    assert states == {("NY", False): 4736, ("WA", False): 2473, ("WA", True): 294}
    found = feed.status(registry.settings)
    assert found["sources"] == {"afdc": {"current": 7209, "gone": 294}}
    assert [(s["scope"], s["current"], s["gone"]) for s in found["snapshots"]] == [("NY", 4736, 0), ("WA", 2473, 294)]


def test_the_example_is_loaded_where_no_file_is_named(settings: Settings, kafka: RecordingKafka) -> None:
    report = load_file(settings, open_publisher=kafka)
    assert (report.scope, report.published) == ("source", 640)
    assert {row["source"] for row in kafka.rows} == {"synthetic"}


def test_the_command_reports_what_it_did(
    tmp_path: Path, kafka: RecordingKafka, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evcharge.cli.app import app

    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    publish_with(monkeypatch, load_file, kafka)
    path = write_csv({}, {"ID": "2", "ZIP": "2114"}, {"ID": "3", "State": "NY"}, {"ID": "4", "Fuel Type Code": "E85"})
    result = CliRunner().invoke(app, ["registry", "load", str(path), "--scope", "ma"])
    assert result.exit_code == 0, result.output
    assert "2 electric stations, as of 2025-02-12, scope MA" in result.stdout
    assert "published 2 messages: 2 new, 0 changed, 0 returned, 0 gone, 0 unchanged" in result.stdout
    assert "skipped 1 rows of other fuels" in result.stdout
    assert "rejected 1 rows: OUTSIDE_SCOPE (rows 4)" in result.stdout
    assert "  row 4: state: NY is not MA" in result.stdout
    assert "corrected 1 rows: ZIP_PADDED (rows 3)" in result.stdout
    report = json.loads(CliRunner().invoke(app, ["registry", "load", str(path), "--scope", "MA", "--json"]).stdout)
    assert report["changes"]["unchanged"] == 2
    assert report["rejected"][0] == {
        "row": 4,
        "station_id": "afdc-3",
        "reason": "OUTSIDE_SCOPE",
        "detail": "state: NY is not MA",
    }
    shown = CliRunner().invoke(app, ["registry", "status"]).stdout
    assert "afdc: 2 stations, 0 gone" in shown
    assert "scope MA of afdc: 2 stations, 0 gone" in shown
    assert "last good copy of the API: none\nlast poll: none" in shown
    assert json.loads(CliRunner().invoke(app, ["registry", "status", "--json"]).stdout)["sources"]
