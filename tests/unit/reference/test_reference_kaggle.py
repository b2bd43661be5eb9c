"""Kaggle's two files: plausible rows are read, the rest is refused with the reasons."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from spreadsheets import write_xlsx

from evcharge.errors import UserError
from evcharge.reference.kaggle import MODEL_COLUMNS, STATION_COLUMNS, ReferenceFile, read
from evcharge.settings import PROJECT

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)

#: A station, and a model, that can be true.
STATION = {
    "Station ID": "EVS00001",
    "Latitude": "52.52",
    "Longitude": "13.405",
    "Address": "2 Berlin Ave, Berlin",
    "Charger Type": "DC Fast Charger",
    "Station Operator": "Ionity",
    "Charging Capacity (kW)": "150",
    "Connector Types": "CCS, Type 2",
}
MODEL = {
    "Battery": "75",
    "Car_name": "Tesla Model Y Long Range",
    "Car_name_link": "https://ev-database.org/car/1619/Tesla-Model-Y",
    "Efficiency": "172",
    "Fast_charge": "670",
    "Price.DE.": "NA",
    "Range": "435",
}


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def stations(tmp_path: Path, *rows: Mapping[str, str]) -> ReferenceFile:
    table = [STATION | {"Station ID": f"EVS{number:05d}"} | dict(row) for number, row in enumerate(rows, start=1)]
    return read(write(tmp_path / "stations.csv", STATION_COLUMNS, table), NOW)


def models(tmp_path: Path, *rows: Mapping[str, str]) -> ReferenceFile:
    return read(write(tmp_path / "models.csv", MODEL_COLUMNS, [MODEL | dict(row) for row in rows]), NOW)


def test_a_station_is_a_row_of_the_registry(tmp_path: Path) -> None:
    (row,) = stations(tmp_path, {}).rows
    assert row["station_id"] == "kag-EVS00001"
    assert (row["source"], row["network"], row["city"], row["time_zone"]) == (
        "kaggle",
        "Ionity",
        "Berlin",
        "Europe/Berlin",
    )
    assert row["total_outlets"] == 2
    # the power is beyond the charger's type, so the other plug does not get it
    assert row["connectors"] == [
        {"connector_type": "IEC_62196_T2", "power_kw": None, "ports": 1},
        {"connector_type": "J1772COMBO", "power_kw": 150.0, "ports": 1},
    ]


@pytest.mark.parametrize(
    ("cells", "code", "text"),
    [
        ({"Charger Type": "AC Level 1", "Charging Capacity (kW)": "350"}, "POWER_OF_TYPE", "AC Level 1 at 350 kW"),
        ({"Charger Type": "AC Level 2", "Charging Capacity (kW)": "50"}, "POWER_OF_TYPE", "AC Level 2 at 50 kW"),
        ({"Charging Capacity (kW)": "600"}, "POWER_OF_TYPE", "DC Fast Charger at 600 kW"),
        ({"Connector Types": "Type 2"}, "CONNECTOR_OF_TYPE", "no other connector than IEC_62196_T2"),
        ({"Connector Types": "CCS, Schuko"}, "UNKNOWN_CONNECTOR", "'Schuko'"),
        ({"Charger Type": "Inductive"}, "UNKNOWN_CHARGER_TYPE", "'Inductive'"),
        ({"Latitude": "78.2", "Longitude": "15.6"}, "LATITUDE_BEYOND_75", "75 degrees"),
        ({"Latitude": "-80"}, "LATITUDE_BEYOND_75", "75 degrees"),
        ({"Latitude": "40", "Longitude": "-30"}, "OPEN_SEA", "open sea"),
        ({"Latitude": "91"}, "OUT_OF_RANGE", "Latitude"),
        ({"Longitude": "east"}, "NOT_A_NUMBER", "Longitude"),
        ({"Latitude": "nan"}, "OUT_OF_RANGE", "Latitude"),
        ({"Address": "4826 Random Rd, City 98, Country"}, "NO_PLACE", "names no place"),
        ({"Station Operator": ""}, "EMPTY_FIELD", "Station Operator"),
        ({"Connector Types": ""}, "EMPTY_FIELD", "Connector Types"),
    ],
)
def test_an_impossible_station_is_refused(tmp_path: Path, cells: dict[str, str], code: str, text: str) -> None:
    file = stations(tmp_path, {}, cells)
    assert [row["station_id"] for row in file.rows] == ["kag-EVS00001"]
    (refused,) = file.refused
    assert (refused.line, refused.name) == (3, "EVS00002")
    assert code in {reason.code for reason in refused.reasons}
    assert any(text in reason.text for reason in refused.reasons)


def test_the_northernmost_chargers_are_believed(tmp_path: Path) -> None:
    assert stations(tmp_path, {"Latitude": "71.17", "Longitude": "25.78"}).rows


def test_all_reasons_of_a_row_are_reported_and_counted(tmp_path: Path) -> None:
    wrong = {"Charger Type": "AC Level 1", "Charging Capacity (kW)": "350", "Connector Types": "CHAdeMO"}
    file = stations(tmp_path, wrong, wrong | {"Latitude": "80"})
    assert {code: texts.total() for code, texts in file.reasons().items()} == {
        "POWER_OF_TYPE": 2,
        "CONNECTOR_OF_TYPE": 2,
        "LATITUDE_BEYOND_75": 1,
    }


def test_the_first_row_of_an_id_stays(tmp_path: Path) -> None:
    same = {"Station ID": "EVS1"}
    # the impossible row does not count
    file = stations(
        tmp_path, same | {"Latitude": "99"}, same | {"Station Operator": "A"}, same | {"Station Operator": "B"}
    )
    assert [row["network"] for row in file.rows] == ["A"]
    assert [[reason.code for reason in row.reasons] for row in file.refused] == [["OUT_OF_RANGE"], ["DUPLICATE_ID"]]


def test_files_as_spreadsheets_save_them(tmp_path: Path) -> None:
    expected = models(tmp_path, {}, {"Car_name": "Kia EV6"}).rows
    text = (tmp_path / "models.csv").read_text()
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text(text.replace(",", ";"), encoding="utf-16")
    cells = [line.split(",") for line in text.splitlines()]
    for path in (semicolons, write_xlsx(tmp_path / "models.xlsx", Cars=cells)):
        assert read(path, NOW).rows == expected


def test_a_quote_that_does_not_close_takes_no_other_car_away(tmp_path: Path) -> None:
    models(tmp_path, {}, {"Car_name": "Kia EV6"}, {"Car_name": "BMW i3"})
    path = tmp_path / "models.csv"
    path.write_text(path.read_text().replace("Kia", '"Kia').replace("BMW i3", '"BMW i3"'))
    file = read(path, NOW)
    assert [row["model"] for row in file.rows] == ["Model Y Long Range", "i3"]
    assert [(row.line, row.reasons[0].code) for row in file.refused] == [(3, "OPEN_QUOTE")]


def test_a_model_with_what_follows_from_its_figures(tmp_path: Path) -> None:
    (row,) = models(tmp_path, {}).rows
    assert row == {
        "ev_model_id": "kag-tesla-model-y-long-range",
        "make": "Tesla",
        "model": "Model Y Long Range",
        "usable_kwh": 75.0,
        "ac_kw": 11.0,
        # 670 km/h x 172 Wh/km
        "dc_kw": 115.2,
        "consumption_kwh_per_100km": 17.2,
        "connector_types": ["IEC_62196_T2", "J1772COMBO"],
        "dc_curve": None,
        "fleet_share": None,
        "source": "kaggle",
    }


@pytest.mark.parametrize("cell", ["", "NA"])
def test_a_car_without_fast_charging(tmp_path: Path, cell: str) -> None:
    (row,) = models(tmp_path, {"Fast_charge": cell}).rows
    assert (row["dc_kw"], row["connector_types"]) == (None, ["IEC_62196_T2"])


def test_leafs_have_chademo(tmp_path: Path) -> None:
    leaf = {"Car_name": "Nissan Leaf e+", "Battery": "59", "Range": "340", "Efficiency": "174", "Fast_charge": "390"}
    (row,) = models(tmp_path, leaf).rows
    assert (row["ev_model_id"], row["connector_types"]) == ("kag-nissan-leaf-e-plus", ["CHADEMO", "IEC_62196_T2"])


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"Battery": "750"}, "OUT_OF_RANGE"),
        ({"Battery": ""}, "EMPTY_FIELD"),
        ({"Efficiency": "17.2"}, "OUT_OF_RANGE"),
        ({"Range": "900"}, "RANGE_OF_BATTERY"),
        ({"Fast_charge": "2900"}, "FAST_CHARGE_POWER"),
        ({"Fast_charge": "quick"}, "NOT_A_NUMBER"),
        ({"Car_name": "Twizy"}, "NO_MODEL"),
    ],
)
def test_an_impossible_model_is_refused(tmp_path: Path, cells: dict[str, str], code: str) -> None:
    file = models(tmp_path, cells)
    assert not file.rows
    assert code in {reason.code for reason in file.refused[0].reasons}


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_newest_of_cars_with_one_name_stays(tmp_path: Path, newest_first: bool) -> None:
    cars = [
        {
            "Car_name": "Mini Cooper SE",
            "Battery": battery,
            "Range": km,
            "Efficiency": "160",
            "Car_name_link": f"/car/{car}/x",
        }
        for car, battery, km in (("1409", "28.8", "180"), ("1998", "49.6", "310"))
    ]
    file = models(tmp_path, *(reversed(cars) if newest_first else cars))
    assert [row["usable_kwh"] for row in file.rows] == [49.6]
    assert [reason.code for reason in file.refused[0].reasons] == ["DUPLICATE_NAME"]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "", "Fuel Type Code,Station Name\nELEC,x\n"])
def test_another_file_is_named_with_those_that_are_known(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(
        UserError, match=r"other\.csv is not a file of reference data.*charging_stations\.csv.*electric_vehicles"
    ):
        read(path, NOW)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", None])
def test_an_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.csv"):
        read(path, NOW)


@pytest.mark.parametrize(
    ("name", "kind", "loaded", "reasons"),
    [
        (
            "charging_stations.csv",
            "stations",
            1_484,
            {
                "POWER_OF_TYPE": 2_996,
                "CONNECTOR_OF_TYPE": 1_367,
                "NO_PLACE": 500,
                "OPEN_SEA": 260,
                "LATITUDE_BEYOND_75": 93,
            },
        ),
        ("electric_vehicles.csv", "ev_models", 351, {"DUPLICATE_NAME": 9}),
    ],
)
def test_the_real_files(name: str, kind: str, loaded: int, reasons: dict[str, Any]) -> None:
    path = PROJECT.parent / "shared" / "data" / "kaggle" / name
    if not path.exists():
        pytest.skip("the real files are not on this machine")
    file = read(path, NOW)
    assert (file.kind, len(file.rows)) == (kind, loaded)
    assert {code: texts.total() for code, texts in file.reasons().items()} == reasons
    if kind == "stations":
        assert file.reasons()["POWER_OF_TYPE"]["AC Level 1 at 350 kW: 120 V x 16 A give 1.92 kW at most"] == 435
