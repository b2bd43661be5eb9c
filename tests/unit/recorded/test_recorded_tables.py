"""Sessions from ACN-Data's API and website, and from tables whose columns the user names."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evcharge.cli.app import app
from evcharge.cli.recorded import print_dropped
from evcharge.recorded.readers import RecordedSession, RecordingError, Table, read_sessions

Write = Callable[..., Path]
ZURICH = "Europe/Zurich"
#: As the API documents a session; the user's inputs are nested.
CALTECH = {
    "_id": "5bc90cb9f9af8b0d7fe77cd2",
    "clusterID": "0039",
    "connectionTime": "Wed, 25 Apr 2018 11:08:04 GMT",
    "disconnectTime": "Wed, 25 Apr 2018 13:20:10 GMT",
    "doneChargingTime": None,
    "kWhDelivered": 7.932,
    "sessionID": "2_39_78_362_2018-04-25 11:08:04.400812",
    "siteID": "0002",
    "spaceID": "CA-496",
    "stationID": "2-39-78-362",
    "timezone": "America/Los_Angeles",
    "userID": None,
    "userInputs": [{"WhPerMile": 250, "kWhRequested": 25.0}],
}
JPL = {**CALTECH, "siteID": "0001", "spaceID": "AG-3F30", "sessionID": "1_1_178_817_2018-09-05 11:04:13.572882"}


def write_json(folder: Path, document: object, name: str = "sessions.json") -> Path:
    path = folder / name
    text = json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("name", ["sessions.json", "sessions.json.gz"])
@pytest.mark.parametrize("bare", [True, False])
def test_acn_json_of_the_api_and_as_a_bare_list(tmp_path: Path, name: str, bare: bool) -> None:
    document = [CALTECH] if bare else {"_meta": {"site": "caltech"}, "_items": [CALTECH]}
    recording = read_sessions(write_json(tmp_path, document, name))
    assert list(recording.sessions()) == [
        RecordedSession(
            session_id="acn-caltech-2_39_78_362_2018-04-25-11-08-04-400812",
            station_id="acn-caltech",
            evse_id="CA-496",
            connector_id="1",
            started_at=datetime(2018, 4, 25, 11, 8, 4, tzinfo=UTC),
            ended_at=datetime(2018, 4, 25, 13, 20, 10, tzinfo=UTC),
            energy_delivered_kwh=7.932,
            reason="EVDisconnected",
        )
    ]
    assert (recording.source, recording.stations[0]["time_zone"]) == ("acn", "America/Los_Angeles")


def test_acn_sites_are_known_by_site_session_or_evse(tmp_path: Path) -> None:
    office = {**CALTECH, "siteID": 19, "spaceID": "02", "sessionID": "19_102_1_1_2019-03-25 08:00:00"}
    unnumbered = {**JPL, "siteID": None}
    of_evse = {**CALTECH, "siteID": None, "sessionID": "x"}
    recording = read_sessions(write_json(tmp_path, [JPL, office, {**unnumbered, "sessionID": "1_1_2_3_y"}, of_evse]))
    assert [each.station_id for each in recording.sessions()] == [
        "acn-jpl",
        "acn-office001",
        "acn-jpl",
        "acn-caltech",
    ]
    with pytest.raises(RecordingError, match="row 1: column 'siteID': UNKNOWN_SITE"):
        read_sessions(write_json(tmp_path, [{**JPL, "siteID": "0077"}]))


def test_the_session_id_of_acn_exports_names_the_site(csv_file: Write) -> None:
    path = csv_file(
        "arrival,departure,delivered_energy (kWh),station_id,session_id",
        "2018-09-05 04:04:13-07:00,2018-09-05 17:08:38-07:00,9.6,AG-3F30,1_1_178_817_2018-09-05 11:04:13.572882",
    )
    assert read_sessions(path).stations[0]["station_id"] == "acn-jpl"


def test_acn_csv_with_the_api_s_columns_and_others_beside_them(csv_file: Write) -> None:
    path = csv_file(
        ",_id,connectionTime,disconnectTime,kWhDelivered,sessionID,siteID,spaceID,userInputs.0.WhPerMile",
        '0,a,"Wed, 05 Sep 2018 11:04:13 GMT","Thu, 06 Sep 2018 00:08:38 GMT",9.583,1_1_2_3,1,AG-3F30,400',
        "1,b,2018-09-05 12:04:13+00:00,2018-09-05 10:00:00+00:00,9.583,1_1_2_4,1,AG-3F30,",
        '2,c,"Wed, 05 Sep 2018 11:04:13 GMT",,9.583,1_1_2_5,1,AG-3F30,',
    )
    recording = read_sessions(path)
    (session,) = recording.sessions()
    assert session.ended_at == datetime(2018, 9, 6, 0, 8, 38, tzinfo=UTC)
    assert recording.rejected_rows == {"ENDS_BEFORE_START": [3], "MISSING_VALUE": [4]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "row 1: column 2: not JSON"),
        ('{"items": []}', "neither a list of sessions nor an object with the list '_items'"),
        ("[1]", "row 1: not a session but 1"),
        ("[]", "empty file"),
        ('[{"a": 1}]', "row 1: column 'a': the header is none of"),
    ],
)
def test_wrong_json_is_reported_in_a_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "sessions.json"
    path.write_text(content)
    with pytest.raises(RecordingError) as raised:
        read_sessions(path)
    assert str(raised.value).startswith(f"{path}: {said}")
    assert "\n" not in str(raised.value)


def test_one_site_of_several(tmp_path: Path) -> None:
    path = write_json(tmp_path, [CALTECH, JPL])
    recording = read_sessions(path, only="acn-jpl")
    assert [each.evse_id for each in recording.sessions()] == ["AG-3F30"]
    assert [each["station_id"] for each in recording.stations] == ["acn-jpl"]
    with pytest.raises(RecordingError, match="no session at 'acn-home', but at acn-caltech, acn-jpl"):
        read_sessions(path, only="acn-home")


@pytest.mark.parametrize(
    ("columns", "row", "stay_min", "kwh"),
    [
        ("started_at=a,ended_at=b,energy_kwh=c", "2024-01-01 08:00,2024-01-01 09:30,7.5", 90, 7.5),
        ("started_at=a,ended_at=b,energy_kwh=c", "2024-01-01T07:00Z,2024-01-01T09:30+01:00,7.5", 90, 7.5),
        ("started_at=a,ended_at=b,energy_kwh=c", "1/13/2024 8:00 AM,1/13/2024 1:05 PM,7.5", 305, 7.5),
        ("started_at=a,ended_at=b,energy_kwh=c", "13.1.2024 08:00:30,13.1.2024 09:00:30,7.5", 60, 7.5),
        ("started_at=a,ended_at=b,energy_wh=c", "13/01/2024 08:00,13/01/2024 12:00,7500", 240, 7.5),
        ("started_at=a,duration=b,energy_kwh=c", "2024-01-01 08:00,26:05:30,0", 1565.5, 0),
        ("started_at=a,duration=b,energy_kwh=c", "2024-01-01 08:00,1 day 2:05:30,0", 1565.5, 0),
        ("started_at=a,duration_min=b,energy_kwh=c", '2024-01-01 08:00,90,"7,5"', 90, 7.5),
        ("started_at=a,duration_h=b,energy_kwh=c", "2024-01-01 08:00,1.5,7.5", 90, 7.5),
    ],
)
def test_tables_by_the_names_of_their_columns(
    csv_file: Write, columns: str, row: str, stay_min: float, kwh: float
) -> None:
    table = Table(ZURICH, dict(pair.split("=") for pair in columns.split(",")))
    recording = read_sessions(csv_file("a,b,c", row), table=table)
    assert recording.first_rejected is None
    (session,) = recording.sessions()
    assert session.started_at.hour == 7
    assert (session.ended_at - session.started_at).total_seconds() == stay_min * 60
    assert session.energy_delivered_kwh == kwh
    assert recording.stations[0]["time_zone"] == ZURICH


def test_a_table_with_semicolons_evses_and_a_date_that_another_row_explains(csv_file: Write) -> None:
    columns = {"started_at": "in", "ended_at": "out", "energy_kwh": "kWh", "evse_id": "plug", "power_kw": "kW"}
    path = csv_file(
        "in;out;kWh;plug;kW;memo",
        "02/01/2024 08:00;02/01/2024 09:00;3,5;P 1;22;",
        "14/01/2024 08:00;14/01/2024 09:00;3,5;P 2;22;x",
    )
    recording = read_sessions(path, table=Table(ZURICH, columns))
    assert [each.started_at.day for each in recording.sessions()] == [2, 14]
    assert [each["power_kw"] for each in recording.stations[0]["evses"]] == [22, 22]
    unclear = read_sessions(csv_file("in;out;kWh;plug;kW", "02/01/2024 08:00;;1;1;1"), table=Table(ZURICH, columns))
    assert "row 2: column 'in': UNPARSABLE_TIME ('02/01/2024 08:00': no row shows which" in str(unclear.first_rejected)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"begin": "a"}, "--columns: 'begin' is none of started_at, "),
        ({"started_at": "a", "energy_kwh": "c"}, "--columns: name one of ended_at, duration, .* not none"),
        (
            {"started_at": "a", "ended_at": "b", "duration_h": "b", "energy_kwh": "c"},
            "name one of .*, not ended_at and duration_h",
        ),
        ({"started_at": "a", "ended_at": "z", "energy_kwh": "c"}, "row 1: column 'z' is missing"),
    ],
)
def test_wrong_mappings_are_reported(csv_file: Write, columns: dict[str, str], said: str) -> None:
    with pytest.raises(RecordingError, match=said):
        read_sessions(csv_file("a,b,c", "2024-01-01,2024-01-02,1"), table=Table(ZURICH, columns))


def test_the_generic_format_without_places_needs_a_zone_alone(csv_file: Write) -> None:
    path = csv_file(
        "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh",
        "s-1,st-1,E1,2024-05-01T08:00:00Z,2024-05-01T10:00:00Z,10.5",
    )
    assert read_sessions(path).stations == []
    (station,) = read_sessions(path, table=Table(ZURICH)).stations
    assert (station["station_id"], station["time_zone"]) == ("st-1", ZURICH)


def fit(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["fit", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.slow
def test_the_command_fits_a_table_and_prints_text_or_json(csv_file: Write, tmp_path: Path) -> None:
    rows = [
        f"2012-{1 + n // 28:02d}-{1 + n % 28:02d} {n % 11 + 7:02d}:{n % 60:02d},{60 + n % 97},{n % 13}.5"
        for n in range(300)
    ]
    path, out = csv_file("in,minutes,kWh", *rows, "2012-01-01 10:00,-5,3"), tmp_path / "profile.json"
    named = ("--columns", "started_at=in,duration_min=minutes,energy_kwh=kWh", "--time-zone", ZURICH)
    code, said = fit(path, "--out", out, *named, "--evses", 3, "--power-kw", 22, "--site-power-kw", 44, "--days", "odd")
    assert code == 0, said
    assert "dropped 1 rows: ENDS_BEFORE_START (rows 302)" in said
    assert "KS distance of stay" in said
    profile = json.loads(out.read_text())
    assert (profile["evses"], profile["power_kw"], profile["site_power_kw"]) == (3, 22, 44)
    code, said = fit(path, "--out", out, *named, "--json")
    report = json.loads(said)
    assert (code, report["sessions"], report["dropped"]) == (0, 300, {"ENDS_BEFORE_START": 1})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--columns", "started_at=in"), "--columns needs --time-zone"),
        (("--columns", "started_at", "--time-zone", ZURICH), "'started_at' is not name=column"),
        (("--date-format", "%Y-%m-%d %H:%M %Z"), "%Z has no offset: use %z"),
        (("--columns", "started_at=a,started_at=b", "--time-zone", ZURICH), "a name is there twice"),
        (("--columns", "started_at=", "--time-zone", ZURICH), "'started_at=' is not name=column"),
        (("--time-zone", "Mars/Base"), "'Mars/Base' is not an IANA time zone"),
        (
            ("--columns", "started_at=in,ended_at=in,energy_kwh=kWh", "--time-zone", ZURICH),
            "row 2: column 'kWh': UNPARSABLE_NUMBER ('much' is not a number); no session is left",
        ),
    ],
)
def test_the_command_says_what_is_wrong(csv_file: Write, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    code, output = fit(csv_file("in,kWh", "2024-01-01 08:00,much"), "--out", tmp_path / "profile.json", *arguments)
    assert code != 0
    assert said in " ".join(output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("row", "stated", "said"),
    [
        ("07.11.2024 08:00,90,7", (), "no row shows which number is the day"),
        ("07.11.2024 08:00,90,7", ("--day-first",), "1 sessions on all days, a fit needs 50"),
        ('2024-01-01 08:00,"1,250",7', (), "'1,250' can be 1250 or 1.250"),
        ('2024-01-01 08:00,"1,250",7', ("--decimal-point",), "1 sessions on all days"),
        ('2024-01-01 08:00,"1,250",7', ("--decimal-comma",), "1 sessions on all days"),
        ("07.11.24 08:00,90,7", (), "the year has two digits: say --date-format"),
        ("07.11.24 08:00,90,7", ("--date-format", "%d.%m.%y %H:%M"), "1 sessions on all days"),
        ("45292.25,90,7", ("--date-format", "excel"), "1 sessions on all days"),
    ],
)
def test_options_say_what_a_file_does_not_show(
    csv_file: Write, tmp_path: Path, row: str, stated: tuple[str, ...], said: str
) -> None:
    columns = 'started_at=in,duration_min=minutes,"energy_kwh=Energy, kWh"'
    path = csv_file('in,minutes,"Energy, kWh"', row)
    code, output = fit(path, "--out", tmp_path / "p.json", "--columns", columns, "--time-zone", ZURICH, *stated)
    assert code == 1
    assert said in output


def test_dropped_rows_and_unknown_connectors_are_printed(csv_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"s-{n},st,E{n},2024-05-01T08:00Z,2024-05-01T10:00Z,{n},47.5,7.6,{ZURICH},n.a." for n in (1, 2)]
    path = csv_file(
        "session_id,station_id,evse_id,started_at,ended_at,energy_delivered_kwh,latitude,longitude,time_zone,connector_type",
        *rows,
        rows[0].replace("s-1", "s-3").replace("T10", "T07"),
    )
    print_dropped(read_sessions(path))
    assert capsys.readouterr().out.splitlines() == [
        "dropped 1 rows: ENDS_BEFORE_START (rows 4)",
        "  row 4: column 'ended_at': ENDS_BEFORE_START (1:00:00 before the start)",
        "2 EVSEs have a connector that is not known: 'n.a.' (2)",
    ]
