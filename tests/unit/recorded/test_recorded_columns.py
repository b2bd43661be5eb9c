"""How columns are read: separators, order of day and month, and zones, decided from the whole column or refused by name."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spreadsheets import Cell, write_xlsx

from evcharge.recorded.readers import ANY_YEAR, Recording, RecordingError, Site, Table, numbers, read_sessions, times
from evcharge.recorded.readers.fields import slug
from evcharge.recorded.readers.model import ColumnError, RowError
from evcharge.recorded.readers.numbers import COMMA, POINT, NumberColumn, Quantity
from evcharge.recorded.readers.times import TimeColumn

Write = Callable[..., Path]
ZURICH, LOS_ANGELES = "Europe/Zurich", "America/Los_Angeles"
TIMES = {"started_at": "from", "ended_at": "to"}
GENERIC = "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh"


def read(path: Path, zone: str | None = ZURICH, /, *, columns: dict[str, str], **stated: Any) -> Recording:
    return read_sessions(path, first_day=ANY_YEAR, table=Table(zone, columns, **stated))


def energies(write: Write, name: str, values: list[str], **stated: Any) -> list[float] | str:
    """The kWh of a column of energies, or why it is refused."""
    rows = [f'2024-01-{day:02d} 08:00,2024-01-{day:02d} 09:00,"{value}"' for day, value in enumerate(values, start=1)]
    try:
        recording = read(write("from,to,energy", *rows), columns={**TIMES, name: "energy"}, **stated)
    except RecordingError as error:
        return str(error)
    return [session.energy_delivered_kwh for session in recording.sessions()]


@pytest.mark.parametrize(
    ("name", "values", "kwh"),
    [
        ("energy_wh", ["12,345", "8,150", "950"], [12.345, 8.15, 0.95]),
        ("energy_wh", ["12.345", "8.150", "950"], [12.345, 8.15, 0.95]),
        ("energy_wh", ["12,345.6", "8,150"], [12.346, 8.15]),
        ("energy_wh", ["12345.6", "8.150"], [12.346, 0.008]),
        ("energy_wh", ["12 345", "8 150", "950"], [12.345, 8.15, 0.95]),
        ("energy_wh", ["12'345.6", "950"], [12.346, 0.95]),
        ("energy_kwh", ["12,5", "8,150", "9"], [12.5, 8.15, 9]),
        ("energy_kwh", ["12,345", "8,150", "0"], [12.345, 8.15, 0]),
        ("energy_kwh", ["12.345", "8.150", "9"], [12.345, 8.15, 9]),
        ("energy_kwh", ["1.234,56", "7,5"], [7.5]),
        ("energy_wh", ["1.234,56", "7.500"], [1.235, 7.5]),
        ("energy_wh", ["1,234.56", "7,500"], [1.235, 7.5]),
        ("energy_wh", ["1,234,567.5", "12,345"], [12.345]),
        ("energy_kwh", ["0,123", "1,234"], [0.123, 1.234]),
    ],
)
def test_the_whole_column_says_which_sign_is_the_decimal_one(
    csv_file: Write, name: str, values: list[str], kwh: list[float]
) -> None:
    assert energies(csv_file, name, values) == kwh


def test_values_that_contradict_their_column_are_refused_by_row(csv_file: Write) -> None:
    rows = [
        f'2024-01-{day:02d} 08:00,2024-01-{day:02d} 09:00,"{kwh}"'
        for day, kwh in enumerate(("12.5", "3.75", "9,5", "1,234"), start=1)
    ]
    recording = read(csv_file("from,to,energy", *rows), columns={**TIMES, "energy_kwh": "energy"})
    assert recording.rejected_rows == {"UNPARSABLE_NUMBER": [4, 5]}
    assert "row 4: column 'energy': UNPARSABLE_NUMBER ('9,5' is not a number with decimal '.'" in str(
        recording.first_rejected
    )


@given(
    values=st.lists(st.decimals(0, 5_000_000, places=3), min_size=1, max_size=6),
    places=st.integers(0, 3),
    decimal=st.sampled_from([POINT, COMMA]),
    group=st.sampled_from(["", " ", "'", "other"]),
)
def test_numbers_of_one_locale_are_read_as_they_are_or_refused(
    values: list[Decimal], places: int, decimal: str, group: str
) -> None:
    other = {POINT: COMMA, COMMA: POINT}[decimal] if group == "other" else group
    marks = str.maketrans({",": other, ".": decimal})
    written = [f"{value:,.{places}f}".translate(marks) for value in values]
    column = NumberColumn("x", Quantity())
    for number, text in enumerate(written):
        column.observe(number, text)
    try:
        form = numbers.decide([column], None, None)["x"]
    except ColumnError:
        return
    assert [form.value(text) for text in written] == [float(round(value, places)) for value in values]


@given(
    values=st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)), min_size=1, max_size=6),  # noqa: DTZ001
    day_first=st.booleans(),
    sign=st.sampled_from("./-"),
)
def test_dates_of_one_order_are_read_as_they_are_or_refused(values: list[datetime], day_first: bool, sign: str) -> None:
    order = sign.join(("%d", "%m", "%Y") if day_first else ("%m", "%d", "%Y"))
    at = [value.replace(microsecond=0, tzinfo=UTC) for value in values]
    written = [f"{value:{order} %H:%M:%S}Z" for value in at]
    column = TimeColumn("x")
    for number, text in enumerate(written):
        column.observe(number, text)
    form = times.decide([column], None, None)["x"]
    for value, text in zip(at, written, strict=True):
        try:
            assert form.instant(text, None) == value
        except RowError:
            assert form.day_first is None


def stays_min(write: Write, values: list[str], energy: str = "5", **stated: Any) -> list[float]:
    rows = [f'2024-01-{day:02d} 08:00,"{value}","{energy}"' for day, value in enumerate(values, start=1)]
    columns = {"started_at": "from", "duration_min": "min", "energy_kwh": "energy"}
    recording = read(write("from,min,energy", *rows), columns=columns, **stated)
    return [(each.ended_at - each.started_at).total_seconds() / 60 for each in recording.sessions()]


def test_a_column_that_stays_open_is_refused_until_the_user_says_it(csv_file: Write) -> None:
    with pytest.raises(RecordingError) as refused:
        stays_min(csv_file, ["950", "1,250"])
    assert str(refused.value).endswith(
        "row 3: column 'min': '1,250' can be 1250 or 1.250, and nothing in the file decides: "
        "say --decimal-point or --decimal-comma"
    )
    assert stays_min(csv_file, ["950", "1,250"], decimal=".") == [950, 1250]
    assert stays_min(csv_file, ["950", "1,250"], decimal=",") == [950, 1.25]
    # another column of the file shows it
    assert stays_min(csv_file, ["950", "1,250"], energy="12,5") == [950, 1.25]
    assert stays_min(csv_file, ["950", "1,250"], energy="12.5") == [950, 1250]
    # no session lasts 43,201 minutes, but a single one may be a fault
    assert stays_min(csv_file, ["50,500", "43,201"]) == [50.5, 43.201]
    for values in (["90", "43,201"], ["1,250", "3,500", "43,201"]):
        with pytest.raises(RecordingError, match="say --decimal-point or --decimal-comma"):
            stays_min(csv_file, values)


def starts(write: Write, values: list[str], zone: str | None = ZURICH, **stated: Any) -> list[datetime] | str:
    """The starts of a column of times, or why the first one is refused."""
    columns = {"started_at": "from", "duration_h": "h", "energy_kwh": "kWh"}
    recording = read(write("from;h;kWh", *(f"{value};1;5" for value in values)), zone, columns=columns, **stated)
    return recording.first_rejected or [session.started_at for session in recording.sessions()]


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (["07.11.2017 10:00", "07/13/2017 00:10"], ["07-11", "07-12"]),
        (["07.11.2017 10:00", "13.11.2017 10:00"], ["11-07", "11-13"]),
        (["11/07/2017 10:00", "13-07-2017 10:00"], ["07-11", "07-13"]),
        (["2017/11/07 10:00", "2017.11.13 10:00"], ["11-07", "11-13"]),
        (["7 Nov 2017 10:00", "Nov 13, 2017 10:00 AM"], ["11-07", "11-13"]),
        (["07.11.2017 10:00", "13.11.2017 10:00", "05.05.2017 10:00"], ["11-07", "11-13", "05-05"]),
        (["07-Nov-2017 10:00", "Mon, 13 Nov 2017 10:00:00"], ["11-07", "11-13"]),
    ],
)
def test_the_whole_column_says_which_number_is_the_day(csv_file: Write, values: list[str], days: list[str]) -> None:
    found = starts(csv_file, values)
    assert isinstance(found, list), found
    assert [f"{at:%m-%d}" for at in found] == days


def test_days_and_months_that_stay_open_are_refused_until_the_user_says_it(csv_file: Write) -> None:
    said = starts(csv_file, ["07.11.2017 10:00", "08.11.2017 10:00"])
    assert said == (
        "row 2: column 'from': UNPARSABLE_TIME ('07.11.2017 10:00': no row shows which number is the day: "
        "say --day-first or --month-first)"
    )
    for day_first, month in ((True, 11), (False, 7)):
        at = datetime(2017, month, 18 - month, 9 if month == 11 else 8, tzinfo=UTC)
        assert starts(csv_file, ["07.11.2017 10:00"], day_first=day_first) == [at]


def test_a_column_with_both_orders_is_refused_with_a_row_of_each(csv_file: Write) -> None:
    said = starts(csv_file, ["13/07/2017 10:00", "07/14/2017 10:00", "01/02/2017 10:00"])
    assert "row 2 has '13/07/2017 10:00' and row 3 has '07/14/2017 10:00'" in str(said)
    # a day 45 shows nothing
    assert "no row shows" in str(starts(csv_file, ["01/02/2017 10:00", "45/02/2017 10:00"]))
    recording = starts(csv_file, ["13/07/2017 10:00", "07/14/2017 10:00"], day_first=True)
    assert "row 3: column 'from': UNPARSABLE_TIME ('07/14/2017 10:00': month must be in 1..12" in str(recording)


def test_the_end_s_column_shows_the_order_for_the_start_s(csv_file: Write) -> None:
    path = csv_file("from,to,kWh", "12/01/2017 22:00,13/01/2017 01:00,5")
    (session,) = read(path, columns={**TIMES, "energy_kwh": "kWh"}).sessions()
    assert session.started_at == datetime(2017, 1, 12, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("Wed Apr 25 2018 11:08:04 GMT-0700 (Pacific Daylight Time)", "2018-04-25T18:08:04"),
        ("Wed, 25 Apr 2018 11:08:04 GMT", "2018-04-25T11:08:04"),
        ("2018-04-25 11:08:04 CET", "2018-04-25T10:08:04"),
        ("2018-04-25 11:08:04 CEST", "2018-04-25T09:08:04"),
        ("2018-04-25 11:08 MDT", "2018-04-25T17:08:00"),
        ("2018-04-25T11:08:04.123456789Z", "2018-04-25T11:08:04.123456"),
        ("2018-04-25 11:08:04+0100", "2018-04-25T10:08:04"),
        ("2018-04-25 11:08:04-07", "2018-04-25T18:08:04"),
        ("20180425T110804Z", "2018-04-25T11:08:04"),
        ("2018-04-25 11:08 PM", "2018-04-25T21:08:00"),
        ("2018-04-25 12:08 am +02:00", "2018-04-24T22:08:00"),
        ("4/25/2018 1:08 p.m.", "2018-04-25T11:08:00"),
        ("2018-04-25 11:08", "2018-04-25T09:08:00"),
    ],
)
def test_times_by_the_zone_that_they_name(csv_file: Write, value: str, at: str) -> None:
    assert starts(csv_file, [value]) == [datetime.fromisoformat(at).replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2018-04-25 11:08:04 CST", "'CST' is not clear (several time zones have this name): write the UTC offset"),
        ("2018-04-25 11:08:04 IST", "'IST' is not clear (several"),
        ("2018-04-25 11:08:04 PT", "'PT' is not clear (no time zone has this name)"),
        ("2018-04-25 11:08:04 (PDT)", "is not a time that is known"),
        ("2018-04-25 13:08 PM", "13 is no hour before PM"),
        ("2018-04-25 11:08+99:00", "'+99:00' is no UTC offset"),
        ("07.11.17 10:00", "the year has two digits: say --date-format"),
        ("43215.5", "may be a spreadsheet's day number: say --date-format excel"),
        ("2018-04-25", "has no time of day: name its column too"),
        ("1524647284", "is not a time that is known"),
        ("31.04.2018 10:00", "day is out of range for month"),
        ("2018-03-25 02:30", "NONEXISTENT_LOCAL_TIME (2018-03-25 02:30 does not exist in Europe/Zurich)"),
    ],
)
def test_times_that_are_not_clear_are_refused_by_name(csv_file: Write, value: str, said: str) -> None:
    found = starts(csv_file, [value])
    assert str(found).startswith("row 2: column 'from': ")
    assert said in str(found)


def test_an_abbreviation_is_that_of_the_site_where_several_zones_have_it(csv_file: Write) -> None:
    assert starts(csv_file, ["2018-01-25 11:00 CST"], "America/Chicago") == [datetime(2018, 1, 25, 17, tzinfo=UTC)]
    assert starts(csv_file, ["2018-01-25 11:00 CST"], "Asia/Shanghai") == [datetime(2018, 1, 25, 3, tzinfo=UTC)]
    # the hour that comes twice
    assert starts(csv_file, ["2018-11-04 01:30 PDT", "2018-11-04 01:30 PST"], LOS_ANGELES) == [
        datetime(2018, 11, 4, 8, 30, tzinfo=UTC),
        datetime(2018, 11, 4, 9, 30, tzinfo=UTC),
    ]


def test_a_time_without_zone_needs_the_site_s(csv_file: Write) -> None:
    said = starts(csv_file, ["2018-04-25 11:08"], None)
    assert "has no UTC offset, and the site's time zone is unknown: say --time-zone" in str(said)
    path = csv_file("from,to,kWh,zone", f"2024-01-01 08:00,2024-01-01 09:00,5,{LOS_ANGELES}")
    recording = read(path, None, columns={**TIMES, "energy_kwh": "kWh", "time_zone": "zone"})
    assert [each.started_at for each in recording.sessions()] == [datetime(2024, 1, 1, 16, tzinfo=UTC)]
    assert [each["time_zone"] for each in recording.stations] == [LOS_ANGELES]


def test_generic_times_without_zone_are_the_station_s_unless_others_have_an_offset(csv_file: Write) -> None:
    place = f",47.5,7.6,{ZURICH}"
    local = f"a,st,E,2024-01-01 08:00,2024-01-01 09:00,5{place}"
    header = f"{GENERIC},latitude,longitude,time_zone"
    (session,) = read_sessions(csv_file(header, local)).sessions()
    assert session.started_at == datetime(2024, 1, 1, 7, tzinfo=UTC)
    mixed = csv_file(header, local, f"b,st,E,2024-01-02T08:00Z,2024-01-02T09:00Z,5{place}")
    recording = read_sessions(mixed)
    assert recording.rejected_rows == {"UNPARSABLE_TIME": [2]}
    assert "has no UTC offset, but other rows have one" in str(recording.first_rejected)
    assert read_sessions(mixed, table=Table(ZURICH)).session_count == 2


def acn(**item: Any) -> dict[str, Any]:
    return {"kWhDelivered": 3.0, "sessionID": "2_39_1_2", "siteID": "0002", "spaceID": "CA-002", **item}


def test_acn_times_without_zone_are_in_the_row_s_timezone(tmp_path: Path) -> None:
    path = tmp_path / "sessions.json"
    times = {"connectionTime": "25 Apr 2018 14:00:00", "disconnectTime": "25 Apr 2018 15:00:00"}
    path.write_text(json.dumps([acn(**times, timezone=LOS_ANGELES), acn(**times, sessionID="x")]))
    recording = read_sessions(path)
    assert [each.started_at for each in recording.sessions()] == [datetime(2018, 4, 25, 21, tzinfo=UTC)]
    assert recording.rejected_rows == {"UNPARSABLE_TIME": [2]}
    assert "say --time-zone" in str(recording.first_rejected)


def test_the_hour_that_comes_twice_is_the_first_unless_the_end_is_before_the_start(csv_file: Write) -> None:
    path = csv_file(
        "from,to,kWh",
        "2022-10-30 02:10,2022-10-30 02:50,5",
        "2022-10-30 02:50,2022-10-30 02:10,5",
    )
    first, second = read(path, columns={**TIMES, "energy_kwh": "kWh"}).sessions()
    assert (first.started_at, first.ended_at) == (
        datetime(2022, 10, 30, 0, 10, tzinfo=UTC),
        datetime(2022, 10, 30, 0, 50, tzinfo=UTC),
    )
    assert second.ended_at == datetime(2022, 10, 30, 1, 10, tzinfo=UTC)


def test_a_stated_form_reads_two_digit_years_and_day_numbers(csv_file: Write) -> None:
    at = [datetime(2017, 11, 7, 9, 30, tzinfo=UTC)]
    assert starts(csv_file, ["07.11.17 10:30"], date_format="%d.%m.%y %H:%M") == at
    assert starts(csv_file, ["43046.4375"], date_format="excel") == at
    assert starts(csv_file, ["43046,4375"], date_format="excel") == at
    said = starts(csv_file, ["2017-11-07 10:30"], date_format="%d.%m.%y %H:%M")
    assert "is not in the form '%d.%m.%y %H:%M'" in str(said)
    assert "is not a day number" in str(starts(csv_file, ["x"], date_format="excel"))


def test_date_and_time_in_two_columns(csv_file: Write, tmp_path: Path) -> None:
    columns = {"started_at": "day+from", "ended_at": "day + to", "energy_kwh": "kWh"}
    recording = read(csv_file("day,from,to,kWh", "13.1.2024,8:00,9:30 PM,5", "14.1.2024,,9:00,5"), columns=columns)
    (session,) = recording.sessions()
    assert (session.ended_at - session.started_at).total_seconds() == 13.5 * 3600
    assert recording.rejected_rows == {"MISSING_VALUE": [3]}
    assert "column 'day+from'" in str(recording.first_rejected)
    with pytest.raises(RecordingError, match="column 'hour' is missing"):
        read(csv_file("day,from,to,kWh"), columns={**columns, "started_at": "day+hour"})
    # in a sheet a date has midnight, and a time the day 0
    day, at = datetime(2024, 1, 13), datetime(1899, 12, 30, 8)  # noqa: DTZ001
    sheet = write_xlsx(tmp_path / "s.xlsx", sessions=[["day", "from", "h", "kWh"], [day, at, 1, 5.25]])
    (session,) = read(sheet, columns={"started_at": "day+from", "duration_h": "h", "energy_kwh": "kWh"}).sessions()
    assert (session.started_at, session.energy_delivered_kwh) == (datetime(2024, 1, 13, 7, tzinfo=UTC), 5.25)


def generic_text(delimiter: str) -> str:
    row = 's-1,st-1,"Säule 1",2024-05-01T08:00:00Z,2024-05-01T10:00:00Z,10.5'
    return f"{GENERIC}\n{row}\n".replace(",", delimiter)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_text_of_any_encoding_and_delimiter(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = tmp_path / "sessions.txt"
    path.write_bytes(gzip.compress(generic_text(delimiter).encode(encoding)))
    (session,) = read_sessions(path).sessions()
    assert (session.evse_id, session.energy_delivered_kwh) == ("Säule 1", 10.5)


def test_spreadsheets_by_their_content(tmp_path: Path) -> None:
    start, end = datetime(2024, 5, 1, 8), datetime(2024, 5, 1, 10)  # noqa: DTZ001
    rows: list[list[Cell]] = [[*GENERIC.split(","), "time_zone"], ["s-1", "st-1", "E1", start, end, 1.234, ZURICH]]
    path = write_xlsx(tmp_path / "sessions.csv", sessions=rows)
    (session,) = read_sessions(path).sessions()
    assert (session.started_at, session.energy_delivered_kwh) == (datetime(2024, 5, 1, 6, tzinfo=UTC), 1.234)
    watt_hours = write_xlsx(tmp_path / "wh.xlsx", sessions=[["from", "h", "Wh"], [start, 1, 950.125]])
    columns = {"started_at": "from", "duration_h": "h", "energy_wh": "Wh"}
    assert [each.energy_delivered_kwh for each in read(watt_hours, columns=columns).sessions()] == [0.95]


def test_blanks_around_the_names_of_a_header(csv_file: Write) -> None:
    path = csv_file("started, ended , kwh", "2024-01-01 08:00, 2024-01-01 09:00, 5")
    columns = {"started_at": "started", "ended_at": "ended", "energy_kwh": "kwh"}
    assert read(path, columns=columns).session_count == 1


def test_an_open_quote_costs_its_row_alone(csv_file: Write) -> None:
    rows = [f"{name},st-1,{evse},2024-05-01T08:00Z,2024-05-01T10:00Z,5" for name, evse in (("a", '"E1'), ("b", "E1"))]
    recording = read_sessions(csv_file(GENERIC, *rows))
    assert [each.session_id for each in recording.sessions()] == ["b"]
    assert recording.rejected_rows == {"OPEN_QUOTE": [2]}


def test_a_header_that_fits_two_formats_names_both(csv_file: Write) -> None:
    with pytest.raises(RecordingError) as refused:
        read_sessions(csv_file("session_id,station_id", "a,b"))
    assert "row 1: the header fits the formats ACN-Data export and generic alike" in str(refused.value)
    assert "generic lacks ended_at, energy_delivered_kwh, evse_id, started_at" in str(refused.value)


def test_a_table_at_a_site_has_its_place_and_ids_that_another_file_repeats(csv_file: Write) -> None:
    site = Site("garage", "Garage", 47.5, 7.6, ZURICH)
    columns = {**TIMES, "energy_kwh": "kWh"}
    rows = ["2024-01-01 08:00,2024-01-01 09:00,5", "2024-01-01 08:00,2024-01-01 10:00,7"]
    recording = read_sessions(csv_file("from,to,kWh", *rows), site=site, table=Table(None, columns))
    ids = [session.session_id for session in recording.sessions()]
    assert ids == ["garage-1-20240101T070000Z", "garage-1-20240101T070000Z-2"]
    assert [(each["station_id"], each["latitude"]) for each in recording.registered] == [("garage", 47.5)]
    longer = csv_file("from,to,kWh", "2023-12-31 08:00,2023-12-31 09:00,5", *rows)
    assert [each.session_id for each in read_sessions(longer, site=site, table=Table(None, columns)).sessions()][
        1:
    ] == ids
    with pytest.raises(RecordingError, match="names a station_id: leave it or --site-… out"):
        read_sessions(longer, site=site, table=Table(None, {**columns, "station_id": "from"}))


def test_a_table_s_stations_are_registered_if_it_has_their_places(csv_file: Write) -> None:
    path = csv_file(
        "from,to,kWh,lot,lat,lon,zone,plug",
        f'2024-01-01 08:00,2024-01-01 09:00,5,Lot 1,"47,559","7,588",{ZURICH},ccs',
        f"2024-01-01 08:00,2024-01-01 09:00,5,Lot 2,,,{ZURICH},",
    )
    places = {"station_id": "lot", "latitude": "lat", "longitude": "lon", "time_zone": "zone", "connector_type": "plug"}
    recording = read(path, None, columns={**TIMES, "energy_kwh": "kWh", **places})
    assert [each["station_id"] for each in recording.stations] == ["Lot-1", "Lot-2"]
    (station,) = recording.registered
    assert (station["latitude"], station["connector_types"]) == (47.559, ["CCS"])


def test_connectors_have_one_vocabulary_and_unknown_ones_are_counted(csv_file: Write) -> None:
    place = f"47.5,7.6,{ZURICH}"
    rows = [
        f"s-{n},st-1,E{n},2024-05-01T08:00Z,2024-05-01T10:00Z,5,{place},{name}"
        for n, name in enumerate(("chademo", "NACS", "Type 2 (max. 22 kW)", "n.a.", "n.a.", ""))
    ]
    recording = read_sessions(csv_file(f"{GENERIC},latitude,longitude,time_zone,connector_type", *rows))
    (station,) = recording.stations
    assert station["connector_types"] == ["CHADEMO", "IEC_62196_T2", "TESLA", "n.a."]
    assert recording.unknown_connectors == {"n.a.": 2}
    assert recording.session_count == 6


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("session_id", "s" * 513, "TEXT_TOO_LONG"),
        ("station_id", "s" * 513, "TEXT_TOO_LONG"),
        ("evse_id", "ä" * 257, "TEXT_TOO_LONG"),
        ("evse_id", "a\x07b", "CONTROL_CHARACTER"),
        ("evse_id", "\u3000", "MISSING_VALUE"),
        ("ev_id", "v" * 600, "TEXT_TOO_LONG"),
        ("station_name", "n" * 513, "TEXT_TOO_LONG"),
        ("zip", "9" * 257, "TEXT_TOO_LONG"),
        ("connector_type", "c" * 129, "TEXT_TOO_LONG"),
        ("power_kw", "4000.5", "OUT_OF_RANGE"),
        ("idle_s", "1e308", "OUT_OF_RANGE"),
        ("latitude", "90.5", "OUT_OF_RANGE"),
    ],
)
def test_what_no_message_may_have_is_refused_with_row_and_column(
    csv_file: Write, column: str, value: str, reason: str
) -> None:
    cells = dict(zip(GENERIC.split(","), ["a", "st", "E", "2024-05-01T08:00Z", "2024-05-01T10:00Z", "5"], strict=True))
    cells |= {"latitude": "47.5", "longitude": "7.6", "time_zone": ZURICH, column: value}
    recording = read_sessions(csv_file(",".join(cells), ",".join(cells.values())))
    assert recording.rejected_rows == {reason: [2]}
    assert f"row 2: column {column!r}: {reason}" in str(recording.first_rejected)


def test_an_id_that_becomes_too_long_is_refused(csv_file: Write) -> None:
    path = csv_file("from,h,kWh,lot,id", f"2024-01-01 08:00,1,5,{'l' * 300},{'i' * 300}")
    columns = {"started_at": "from", "duration_h": "h", "energy_kwh": "kWh", "station_id": "lot", "session_id": "id"}
    assert "row 2: column 'id': TEXT_TOO_LONG (601 bytes" in str(read(path, columns=columns).first_rejected)


def test_every_iana_name_of_a_zone_is_known(csv_file: Write) -> None:
    for zone in ("CET", "Japan", "GB"):
        row = f"a,st,E,2024-05-01T08:00Z,2024-05-01T10:00Z,5,47.5,7.6,{zone}"
        (station,) = read_sessions(csv_file(f"{GENERIC},latitude,longitude,time_zone", row)).stations
        assert station["time_zone"] == zone


def test_ids_made_of_names_keep_names_apart_and_old_ids_as_they_were() -> None:
    assert slug("2_39_131_30_2019-05-01 08:18:44.595638") == "2_39_131_30_2019-05-01-08-18-44-595638"
    assert slug("Lot 1") == "Lot-1"
    assert len({slug(name) for name in ("東京", "大阪", "***", "###", "Zürich", "Zörich", "Z-rich")}) == 7
    assert all(slug(name).isascii() for name in ("東京", "***", "Zürich"))
