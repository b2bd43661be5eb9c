"""Readers of recorded sessions, on the examples, on small inline files and, where they are, on the real recordings."""

import csv
import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from evcharge.contracts import STATION_REGISTRY
from evcharge.recorded.readers import Recording, RecordingError, Site, read_sessions
from evcharge.settings import PROJECT

EXAMPLES = PROJECT / "examples"
GENERIC = "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh"
ACN = "arrival,departure,delivered_energy (kWh),station_id,session_id"
EPFL = "Session,CCS,Arrival,Departure,Energy (Wh)"
Write = Callable[..., Path]


def row(
    session_id: str = "s-1",
    started_at: str = "2024-05-01T08:00:00Z",
    ended_at: str = "2024-05-01T10:00:00Z",
    energy: str = "10.5",
    station_id: str = "st-1",
) -> str:
    return f"{session_id},{station_id},E1,{started_at},{ended_at},{energy}"


@pytest.mark.parametrize(
    ("name", "source", "sessions", "stations"),
    [
        ("sessions-acn.csv", "acn", 24, ["acn-caltech"]),
        ("sessions-epfl.csv", "epfl", 20, ["epfl-dcfast"]),
        ("sessions-generic.csv", "generic", 30, ["demo-harbor", "demo-mile-high"]),
        ("sessions-generic-dirty.csv", "generic", 3, ["demo-harbor"]),
    ],
)
def test_examples(name: str, source: str, sessions: int, stations: list[str]) -> None:
    recording = read_sessions(EXAMPLES / name)
    read = list(recording.sessions())
    assert (recording.source, recording.session_count, len(read)) == (source, sessions, sessions)
    assert recording.energy_delivered_wh == sum(round(each.energy_delivered_kwh * 1000) for each in read)
    assert sorted(station["station_id"] for station in recording.stations) == stations
    assert {each.station_id for each in read} <= set(stations)


def test_stations_satisfy_the_registry_contract() -> None:
    for path in EXAMPLES.glob("sessions-*.csv"):
        for station in read_sessions(path).stations:
            assert station.keys() <= set(STATION_REGISTRY.columns)
            required = {field.name for field in STATION_REGISTRY.fields if field.required}
            present = {name for name, value in station.items() if value is not None}
            assert required - present == {"schema_version", "observed_at"}
            assert station["total_outlets"] == len(station["evses"])


def test_dirty_example_counts_every_reason_with_its_rows() -> None:
    recording = read_sessions(EXAMPLES / "sessions-generic-dirty.csv")
    assert recording.rejected.total() + recording.session_count == 19
    assert recording.rejected_rows == {
        "ENDS_BEFORE_START": [3],
        "NEGATIVE_ENERGY": [4],
        "ENERGY_TOO_LARGE": [5],
        "UNPARSABLE_NUMBER": [6, 19],
        "UNPARSABLE_TIME": [7, 8],
        "DUPLICATE_SESSION_ID": [9],
        "STAY_TOO_LONG": [10],
        "BEFORE_FIRST_DAY": [11],
        "IN_THE_FUTURE": [12],
        "UNSAFE_ID": [13],
        "MISSING_VALUE": [14],
        "OUT_OF_RANGE": [16],
        "UNKNOWN_TIME_ZONE": [17],
        "WRONG_COLUMN_COUNT": [18],
    }


def test_caltech_comes_through_whole(shared_sessions: Path) -> None:
    path = shared_sessions / "acn_caltech_2019-05-01_2019-08-31.csv.gz"
    with gzip.open(path, "rt") as lines:
        energy_kwh = sum(float(values["delivered_energy (kWh)"]) for values in csv.DictReader(lines))
    recording = read_sessions(path)
    sessions = list(recording.sessions())
    assert len({session.session_id for session in sessions}) == 3527
    assert not recording.rejected
    assert sum(session.energy_delivered_kwh for session in sessions) == pytest.approx(energy_kwh, abs=0.001)
    assert recording.energy_delivered_wh / 1000 == pytest.approx(energy_kwh, abs=0.001)
    assert sessions[0].started_at == datetime(2019, 5, 1, 8, 18, 45, tzinfo=UTC)
    assert sessions[0].session_id == "acn-caltech-2_39_131_30_2019-05-01-08-18-44-595638"
    (station,) = recording.stations
    assert (station["station_id"], station["total_outlets"]) == ("acn-caltech", 52)


def test_epfl_comes_through_whole(shared_sessions: Path) -> None:
    recording = read_sessions(shared_sessions / "epfl_dcfast_2022_share.csv")
    first = next(recording.sessions())
    assert (recording.session_count, recording.rejected.total()) == (992, 0)
    assert first.started_at == datetime(2022, 8, 11, 21, 33, tzinfo=UTC)
    assert (first.energy_delivered_kwh, first.soc_start, first.power_max_kw) == (9.632, 25.999, 168.393)


def test_gzip_byte_order_mark_and_quoted_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv.gz"
    header = f"{GENERIC},station_name"
    path.write_bytes(gzip.compress(f'\ufeff{header}\r\n{row()},"two\r\nlines"\r\n{row("s-1")},x\r\n'.encode()))
    recording = read_sessions(path)
    assert recording.session_count == 1
    assert recording.rejected_rows == {"DUPLICATE_SESSION_ID": [4]}


def test_same_content_is_the_same_recording_whatever_its_name(csv_file: Write) -> None:
    one, other = csv_file(GENERIC, row(), name="a.csv"), csv_file(GENERIC, row(), name="b.csv")
    assert read_sessions(one).digest == read_sessions(other).digest
    assert read_sessions(csv_file(GENERIC, row("s-2"))).digest != read_sessions(one).digest


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "empty file"),
        ([GENERIC], "no sessions below the header"),
        (["a,b"], "row 1: column 'a': the header is none of"),
        ([GENERIC.replace(",ended_at", "")], "row 1: column 'ended_at' is missing (format generic)"),
        ([ACN.replace("departure,", "")], "row 1: column 'departure' is missing (format acn)"),
        ([EPFL + ",Colour"], "row 1: column 'Colour' is unknown (format epfl)"),
        ([GENERIC + ",evse_id"], "row 1: column 'evse_id' is there twice"),
        (
            [ACN, "2024-05-01T08:00Z,2024-05-01T10:00Z,10,AG-1F01,1"],
            "row 2: column 'station_id': UNKNOWN_SITE (EVSE 'AG-1F01' belongs to no site",
        ),
    ],
)
def test_wrong_files_are_named_with_row_and_column(csv_file: Write, lines: list[str], message: str) -> None:
    path = csv_file(*lines)
    with pytest.raises(RecordingError) as raised:
        read_sessions(path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes(GENERIC.encode() + b"\ns-1,st,\xe9,,,\n")
    with pytest.raises(RecordingError, match="line 2: byte 0xE9 is not UTF-8"):
        read_sessions(latin)
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(GENERIC.encode())[:-6])
    with pytest.raises(RecordingError, match="damaged gzip"):
        read_sessions(broken)
    with pytest.raises(RecordingError, match="No such file"):
        read_sessions(tmp_path / "absent.csv")
    with pytest.raises(RecordingError, match="directory"):
        read_sessions(tmp_path)


def test_strict_stops_at_the_first_impossible_row(csv_file: Write) -> None:
    path = csv_file(GENERIC, row(), row("s-2", energy="-1"))
    with pytest.raises(RecordingError, match=r"row 3: column 'energy_delivered_kwh': NEGATIVE_ENERGY \(-1.0 kWh\)"):
        read_sessions(path, strict=True)


def test_only_impossible_rows_leave_nothing_to_register(csv_file: Write) -> None:
    recording = read_sessions(csv_file(GENERIC, row(energy="x")))
    assert (recording.session_count, recording.stations, recording.rejected["UNPARSABLE_NUMBER"]) == (0, [], 1)


def test_first_day_and_now_bound_what_is_possible(csv_file: Write) -> None:
    path = csv_file(GENERIC, row())

    def reasons(**bounds: Any) -> set[str]:
        return set(read_sessions(path, **bounds).rejected)

    assert reasons(first_day=date(2024, 5, 1), now=datetime(2024, 5, 1, 10, tzinfo=UTC)) == set()
    assert reasons(first_day=date(2024, 5, 2)) == {"BEFORE_FIRST_DAY"}
    assert reasons(now=datetime(2024, 5, 1, 9, 59, tzinfo=UTC)) == {"IN_THE_FUTURE"}


def test_local_times_at_the_ends_of_daylight_saving(csv_file: Write) -> None:
    recording = read_sessions(
        csv_file(
            EPFL,
            "1,CCS1,2022-10-30 01:50:00,2022-10-30 02:30:00,9000",  # 02:30 comes twice: the first one
            "2,CCS1,2022-03-27 02:30:00,2022-03-27 03:10:00,9000",  # 02:30 does not come
        )
    )
    (session,) = recording.sessions()
    assert session.ended_at == datetime(2022, 10, 30, 0, 30, tzinfo=UTC)
    assert recording.rejected_rows == {"NONEXISTENT_LOCAL_TIME": [3]}


def test_another_site_for_acn_files(csv_file: Write) -> None:
    path = csv_file(ACN, "2024-05-01T08:00:00-07:00,2024-05-01T10:00:00-07:00,10,AG-1F01,1 a:b")
    recording = read_sessions(path, site=Site("acn-jpl", "JPL", 34.2, -118.17, "America/Los_Angeles"))
    (session,) = recording.sessions()
    assert (session.session_id, session.station_id, session.evse_id) == ("acn-jpl-1-a-b", "acn-jpl", "AG-1F01")
    assert recording.stations[0]["station_name"] == "JPL"
    with pytest.raises(RecordingError, match="names its stations itself"):
        read_sessions(csv_file(GENERIC, row()), site=Site("x", "x", 0, 0, "UTC"))


def generic_with_places(csv_file: Write) -> Recording:
    return read_sessions(
        csv_file(
            f"{GENERIC},latitude,longitude,time_zone,connector_type,power_kw",
            f"{row('a')},,,,,",
            f"{row('b')},40.7,-74,America/New_York,J1772,7.2",
            f"{row('c')},41.7,-75,America/New_York,CHADEMO,50",
            f"{row('d', station_id='st-2')},,,,J1772,7.2",
        )
    )


def test_the_first_row_that_names_a_station_or_connector_counts(csv_file: Write) -> None:
    recording = generic_with_places(csv_file)
    (station,) = recording.stations
    assert recording.session_count == 4
    assert (station["latitude"], station["connector_types"]) == (40.7, ["J1772"])
    assert station["connectors"] == [{"connector_type": "J1772", "power_kw": 7.2, "ports": 1}]
