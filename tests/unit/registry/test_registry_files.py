"""Downloads of any year, as AFDC or a spreadsheet saved them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from afdc_downloads import DOWNLOADED, WriteCsv
from afdc_server import electric
from spreadsheets import write_xlsx

from evcharge.registry.files import read_file
from evcharge.registry.snapshot import RegistryError, Scope, Snapshot, by_reason

ANY = Scope()


def rejected(snapshot: Snapshot) -> dict[str, list[int]]:
    return by_reason(snapshot.rejected)


def test_a_download_with_a_byte_order_mark(write_csv: WriteCsv) -> None:
    snapshot = read_file(write_csv({}, {"ID": "2"}, {"ID": "3", "Fuel Type Code": "CNG"}), ANY)
    assert {*snapshot.stations} == {"afdc-1", "afdc-2"}
    assert snapshot.not_electric == 1
    assert not snapshot.rejected
    assert snapshot.as_of is not None
    assert snapshot.as_of.date().isoformat() == "2025-02-12"


def test_gzip_underscores_and_no_country(write_csv: WriteCsv, tmp_path: Path) -> None:
    plain = write_csv({}, columns=[name for name in DOWNLOADED if name != "Country"]).read_text(encoding="utf-8-sig")
    header, rest = plain.split("\n", 1)
    packed = tmp_path / "old.csv.gz"
    packed.write_bytes(gzip.compress(f"{header.replace(' ', '_')}\n{rest}".encode()))
    assert read_file(packed, ANY).stations["afdc-1"]["country"] == "US"
    assert read_file(packed, ANY).stations["afdc-1"]["total_outlets"] == 4


def test_a_file_that_a_spreadsheet_saved(write_csv: WriteCsv) -> None:
    path = write_csv({"Station Name": "Café Montréal", "ZIP": "2114", "Updated At": "2/12/2025 0:16"})
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode("cp1252"))
    snapshot = read_file(path, ANY)
    assert snapshot.stations["afdc-1"]["station_name"] == "Café Montréal"
    assert snapshot.stations["afdc-1"]["zip"] == "02114"
    assert snapshot.as_of is not None
    assert snapshot.as_of.isoformat() == "2025-02-12T00:16:00+00:00"
    assert by_reason(snapshot.corrected) == {"ZIP_PADDED": [2]}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", pytest.param("cp1252", id="as spreadsheets on Windows")]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(write_csv: WriteCsv, encoding: str, delimiter: str) -> None:
    path = write_csv({"Station Name": "Café"}, {"ID": "2", "Station Name": "Zürich"})
    path.write_text(path.read_text(encoding="utf-8-sig").replace(",", delimiter), encoding=encoding)
    snapshot = read_file(path, ANY)
    assert {key: row["station_name"] for key, row in snapshot.stations.items()} == {
        "afdc-1": "Café",
        "afdc-2": "Zürich",
    }
    assert not snapshot.doubts
    assert bool(snapshot.notes) is (encoding == "cp1252")


def test_a_spreadsheet(write_csv: WriteCsv, tmp_path: Path) -> None:
    numbers = {
        "ID": 17,
        "ZIP": 2114,
        "Latitude": 42.361,
        "Longitude": -71.066,
        "EV Level2 EVSE Num": 4,
        "Country": None,
    }
    path = write_xlsx(
        tmp_path / "stations.xlsx",
        Download=[[*DOWNLOADED], [numbers.get(name, text) for name, text in DOWNLOADED.items()]],
    )
    snapshot = read_file(path, ANY)
    expected = read_file(write_csv({"ID": "17", "Country": ""}), ANY).stations
    assert snapshot.stations == expected
    assert by_reason(snapshot.corrected) == {"ZIP_PADDED": [2]}


def test_blanks_around_the_names_of_columns(write_csv: WriteCsv) -> None:
    path = write_csv({})
    header, rest = path.read_text(encoding="utf-8-sig").split("\n", 1)
    path.write_text(f"{header.replace(',', ' , ')}\n{rest}")
    assert {*read_file(path, ANY).stations} == {"afdc-1"}


def test_a_column_that_is_there_twice_is_refused(write_csv: WriteCsv) -> None:
    path = write_csv({})
    header, rest = path.read_text(encoding="utf-8-sig").split("\n", 1)
    path.write_text(f"{header.strip()},id\n{rest.strip()},2\n")
    with pytest.raises(RegistryError, match="column id is there twice"):
        read_file(path, ANY)


def test_a_download_without_status_is_of_open_stations(write_csv: WriteCsv) -> None:
    snapshot = read_file(write_csv({}, columns=[name for name in DOWNLOADED if name != "Status Code"]), ANY)
    assert snapshot.stations["afdc-1"]["status_code"] == "E"
    assert snapshot.unstated["afdc-1"] >= {"status_code"}
    assert "no column Status Code" in snapshot.notes[0]


def test_an_unreadable_line_is_named(write_csv: WriteCsv) -> None:
    path = write_csv({}, {"ID": "2"}, {"ID": "3"}, {"ID": "4"})
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines[1] = lines[1].replace("City Garage", "City, Garage")
    lines[3] = lines[3].replace("City Garage", '"City Garage')
    path.write_text("\n".join(lines) + "\n")
    snapshot = read_file(path, ANY)
    assert {*snapshot.stations} == {"afdc-2", "afdc-4"}
    assert rejected(snapshot) == {"OPEN_QUOTE": [4], "WRONG_COLUMN_COUNT": [2]}
    assert snapshot.rejected[0].detail == "17 cells for 16 columns"


def test_a_place_must_fit_country_and_state(write_csv: WriteCsv) -> None:
    path = write_csv(
        {"State": "ZW", "Latitude": "-71.04", "Longitude": "42.35"},
        {"ID": "2", "State": "ZW", "Latitude": "46.36", "Longitude": "71.04"},
        {"ID": "3", "State": "ZW", "Latitude": "46.02", "Longitude": "-117"},
        {"ID": "4", "State": "NY"},
    )
    snapshot = read_file(path, ANY)
    assert {*snapshot.stations} == {"afdc-3"}, "without a known state the country decides"
    assert rejected(snapshot) == {"PLACE_DOES_NOT_FIT": [2, 3, 5]}
    assert snapshot.rejected[0].detail == (
        "the place does not fit country and state: latitude -71.04, longitude 42.35 is in AQ, not in US; "
        "with latitude and longitude swapped it would fit"
    )
    assert {*snapshot.named} == {"afdc-1", "afdc-2", "afdc-3", "afdc-4"}
    assert not snapshot.doubts, "the ids of these rows are known"


def test_unreadable_rows_are_reported_and_the_rest_is_loaded(write_csv: WriteCsv) -> None:
    path = write_csv(
        {},
        {"ID": "2", "Latitude": "423.61"},
        {"ID": ""},
        {"ID": "1", "Station Name": "Twin"},
        {"ID": "5", "Station Name": ""},
        {"ID": "6", "EV DC Fast Count": "many"},
        {"ID": "7", "Longitude": ""},
        {"ID": "8"},
        {"ID": "9", "Fuel Type Code": "ELE"},
    )
    with path.open("a") as file:
        file.write("ELEC,short\n\n")
    snapshot = read_file(path, ANY)
    assert {*snapshot.stations} == {"afdc-1", "afdc-8"}
    assert snapshot.stations["afdc-1"]["station_name"] == "City Garage"
    assert rejected(snapshot) == {
        "DUPLICATE_ID": [5],
        "MISSING_COORDINATES": [8],
        "MISSING_ID": [4],
        "MISSING_NAME": [6],
        "OFF_THE_GLOBE": [3],
        "UNKNOWN_FUEL": [10],
        "UNPARSABLE_COUNT": [7],
        "WRONG_COLUMN_COUNT": [11],
    }


def test_stations_outside_the_scope_are_refused(write_csv: WriteCsv) -> None:
    snapshot = read_file(write_csv({}, {"ID": "2", "State": "NY"}, {"ID": "3", "State": ""}), Scope("MA"))
    assert {*snapshot.stations} == {"afdc-1"}
    assert rejected(snapshot) == {"OUTSIDE_SCOPE": [3, 4]}
    assert snapshot.named == {"afdc-1", "afdc-2", "afdc-3"}


def test_json_of_the_api(tmp_path: Path) -> None:
    path = tmp_path / "stations.json"
    path.write_text(json.dumps({"total_results": 2, "fuel_stations": [electric(7), electric(8, latitude=None)]}))
    snapshot = read_file(path, ANY)
    assert {*snapshot.stations} == {"afdc-7"}
    assert rejected(snapshot) == {"MISSING_COORDINATES": [2]}


def test_json_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = tmp_path / "stations.json"
    path.write_text(json.dumps({"total_results": 97_287, "fuel_stations": [electric(7)]}))
    assert read_file(path, ANY).doubts == ["the file has 1 of 97287 stations"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "column fuel_type_code is missing"),
        (b"a,b\n1,2\n", "column fuel_type_code is missing"),
        (b"<html>503</html>", "an HTML or XML page"),
        (b'{"fuel_stations": [{"id": 1', "not JSON to its end"),
        (b'{"errors": []}', "no list `fuel_stations`"),
        (b'{"fuel_stations": []}', "no electric station"),
        (gzip.compress(b"a" * 1000, mtime=0)[:20], "damaged gzip"),
    ],
)
def test_files_that_are_no_download(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=says) as error:
        read_file(path, ANY)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file"):
        read_file(tmp_path / "none.csv", ANY)


def test_a_scope_without_a_station_of_the_file(write_csv: WriteCsv) -> None:
    with pytest.raises(RegistryError, match=r"all 1 were rejected: OUTSIDE_SCOPE"):
        read_file(write_csv({}), Scope("TX"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scope", "stations", "not_electric"),
    [
        ("afdc_ny_2025-04-21.csv.gz", "NY", 4736, 121),
        ("afdc_wa_2023-03-28.csv.gz", "WA", 1642, 62),
        ("afdc_wa_2025-02-09.csv.gz", "WA", 2473, 85),
        # 15 places are wrong: Keyport, WA in Honolulu, Beaverton, RI in Oregon, one at latitude 1, longitude -1 …
        ("afdc_elec_us_2020-10-27.csv.gz", "all", 30801 - 15, 0),
    ],
)
def test_the_real_downloads(shared_registry: Path, name: str, scope: str, stations: int, not_electric: int) -> None:
    snapshot = read_file(shared_registry / name, Scope.parse(scope))
    assert (len(snapshot.stations), snapshot.not_electric) == (stations, not_electric)
    assert by_reason(snapshot.rejected).keys() <= {"PLACE_DOES_NOT_FIT"}
    assert len(snapshot.rejected) == 15 * (scope == "all")
    assert not snapshot.doubts
    assert by_reason(snapshot.corrected).keys() <= {"ZIP_PADDED", "UNREADABLE_ZIP"}


def test_the_example_is_ours_and_says_so() -> None:
    from evcharge.registry.feed import EXAMPLE

    snapshot = read_file(EXAMPLE, Scope("source"))
    assert len(snapshot.stations) == 640
    assert not snapshot.rejected
    assert not snapshot.corrected
    for key, row in snapshot.stations.items():
        assert key.startswith("syn-")
        assert row["source"] == "synthetic"
        assert row["station_name"].endswith("(synthetic)")
        assert row["total_outlets"] > 0
        assert row["connectors"]
    assert EXAMPLE.stat().st_size < 120_000
