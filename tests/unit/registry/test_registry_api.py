"""Polls of a local server with the API's semantics, on its good days and on its bad ones."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from afdc_downloads import RecordingKafka, WriteCsv, publish_with
from afdc_server import (
    KEY,
    PREFIX,
    AfdcServer,
    Fault,
    broken_off,
    changed,
    electric,
    from_download,
    html,
    moved,
    over_limit,
    status,
    truncated,
)
from typer.testing import CliRunner

from evcharge.connections import ServerDownError
from evcharge.registry import feed, state
from evcharge.registry.api import ATTEMPTS, AfdcClient, NoKeyError
from evcharge.registry.feed import PollReport, load_file
from evcharge.registry.snapshot import RegistryError, VanishingError
from evcharge.settings import Settings, load_settings


class Poller:
    """Polls without waiting. `waited_s` are the waits that it asked for."""

    def __init__(self, settings: Settings, kafka: RecordingKafka) -> None:
        self.settings, self.kafka = settings, kafka
        self.waited_s: list[float] = []

    def __call__(self, **options: Any) -> PollReport:
        client = AfdcClient(self.settings, sleep=self.waited_s.append)
        return feed.poll(self.settings, client=client, open_publisher=self.kafka, **options)

    def fails(self, says: str, kind: type[Exception] = RegistryError) -> str:
        """The poll fails with one line that contains `says` and not the key. Nothing is published."""
        published = len(self.kafka.rows)
        with pytest.raises(kind, match=says) as error:
            self()
        text = str(error.value)
        assert KEY not in text
        assert "\n" not in text
        assert len(self.kafka.rows) == published
        assert feed.status(self.settings)["last_poll"]["outcome"] == "failed"
        assert not list(state.folder(self.settings).glob("*.tmp"))
        return text


@pytest.fixture
def poll(polling: Settings, kafka: RecordingKafka, afdc: AfdcServer) -> Poller:
    afdc.stations = [electric(number) for number in range(1, 11)]
    return Poller(polling, kafka)


def test_a_poll_publishes_the_stations_and_keeps_a_copy(poll: Poller, afdc: AfdcServer) -> None:
    afdc.stations.append(electric(99, fuel_type_code="E85"))
    report = poll()
    assert report.outcome == "loaded"
    assert report.load is not None
    assert (report.load.published, report.load.scope) == (10, "all")
    assert afdc.requests == [f"{PREFIX}/last-updated.json", f"{PREFIX}.json?fuel_type=ELEC&limit=all"]
    found = feed.status(poll.settings)
    assert found["sources"] == {"afdc": {"current": 10, "gone": 0}}
    assert found["last_good_copy"]["age_s"] < 60
    assert found["last_poll"]["outcome"] == "loaded"
    # the copy is a download like any other
    report_of_copy = load_file(poll.settings, Path(found["last_good_copy"]["file"]), open_publisher=poll.kafka)
    assert report_of_copy.changes["unchanged"] == 10


def test_nothing_is_fetched_when_nothing_was_updated(poll: Poller, afdc: AfdcServer) -> None:
    poll()
    assert poll().outcome == "unchanged"
    assert len(afdc.requests) == 3
    assert feed.status(poll.settings)["last_poll"]["outcome"] == "unchanged"


def test_a_delta(poll: Poller, afdc: AfdcServer) -> None:
    poll()
    stations = [electric(number) for number in range(2, 12)]
    stations[0]["status_code"] = "T"
    afdc.update(stations[::-1], "2025-12-13T00:00:00Z")
    report = poll()
    assert report.load is not None
    assert report.load.changes == {"new": 1, "changed": 1, "returned": 0, "gone": 1, "unchanged": 8}
    assert {row["station_id"] for row in poll.kafka.rows[10:]} == {"afdc-1", "afdc-2", "afdc-11"}


def test_a_file_that_changed_something_makes_the_next_poll_look(
    poll: Poller, afdc: AfdcServer, write_csv: WriteCsv
) -> None:
    poll()
    load_file(poll.settings, write_csv({"ID": "1"}), open_publisher=poll.kafka)
    report = poll()
    assert report.load is not None
    assert report.load.changes["changed"] == 1
    assert poll().outcome == "unchanged"


@pytest.mark.slow
def test_two_downloads_as_two_days_of_the_api(poll: Poller, afdc: AfdcServer, shared_registry: Path) -> None:
    def stations(name: str) -> list[dict[str, Any]]:
        with gzip.open(shared_registry / name) as raw:
            return [from_download(row) for row in csv.DictReader(TextIOWrapper(raw, "utf-8-sig", newline=""))]

    afdc.update(stations("afdc_wa_2023-03-28.csv.gz"), "2023-03-28T23:56:45Z")
    first = poll()
    afdc.update(stations("afdc_wa_2025-02-09.csv.gz"), "2025-02-09T04:33:48Z")
    second = poll()
    assert first.load is not None
    assert second.load is not None
    assert first.load.changes["new"] == 1642
    assert second.load.changes == {"new": 1125, "changed": 518, "returned": 0, "gone": 294, "unchanged": 830}


def test_the_documented_examples(poll: Poller, afdc: AfdcServer, shared_registry: Path) -> None:
    """The list that the API's documentation prints, which has both fuels and units with their powers."""
    samples = shared_registry / "api_samples"
    afdc.stations = json.loads((samples / "all.json").read_text())["fuel_stations"]
    afdc.last_updated = json.loads((samples / "last_updated.json").read_text())["last_updated"]
    report = poll()
    assert report.last_updated == "2012-04-06T13:48:16Z"
    (row,) = poll.kafka.rows
    assert row["station_id"] == "afdc-446568"
    assert row["connectors"] == [{"connector_type": "J1772COMBO", "power_kw": 400.0, "ports": 4}]


@pytest.mark.parametrize(
    ("fault", "waited_s"),
    [
        (over_limit(Retry_After="7"), [7, 7]),
        (over_limit(), [2, 4]),
        (status(500), [2, 4]),
        (status(503), [2, 4]),
        (truncated, [2, 4]),
        (broken_off, [2, 4]),
    ],
    ids=["429 with Retry-After", "429", "500", "503", "truncated", "broken off"],
)
@pytest.mark.parametrize("request_number", [0, 1], ids=["last-updated", "stations"])
def test_what_passes_is_asked_again(
    poll: Poller, afdc: AfdcServer, fault: Fault, waited_s: list[float], request_number: int
) -> None:
    afdc.faults.extend([None] * request_number + [fault, fault])
    assert poll().outcome == "loaded"
    assert len(poll.kafka.rows) == 10
    assert poll.waited_s == waited_s


def test_attempts_are_bounded(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.extend([status(503)] * 100)
    poll.fails(r"HTTP 503 \(attempt 4\); there is no earlier copy")
    assert len(afdc.requests) == ATTEMPTS


@pytest.mark.parametrize("fault", [truncated, broken_off], ids=["no length", "length"])
def test_an_answer_that_stays_truncated(poll: Poller, afdc: AfdcServer, fault: Fault) -> None:
    afdc.faults.extend([None] + [fault] * 100)
    poll.fails(r"truncated or damaged JSON of|the answer broke off")


def test_the_hour_of_the_rate_limit_is_not_waited_for(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.append(over_limit(X_RateLimit_Limit="1000", X_RateLimit_Remaining="0"))
    poll.fails(r"over its rate limit \(X-RateLimit-Limit: 1000, X-RateLimit-Remaining: 0\)")
    assert poll.waited_s == []
    afdc.faults.append(over_limit(Retry_After="1800"))
    poll.fails("Retry-After: 1800")
    assert poll.waited_s == []


def test_retry_after_may_be_a_date(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.append(over_limit(Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)))
    assert poll().outcome == "loaded"
    assert 20 < poll.waited_s[0] <= 30


def test_a_moved_host_is_named_and_not_followed(poll: Poller, afdc: AfdcServer) -> None:
    for code in (301, 302, 308):
        afdc.faults.append(moved(f"https://api.example.org{PREFIX}/last-updated.json?api_key={KEY}", code))
        text = poll.fails("EVCHARGE_AFDC_API_URL")
        assert f"has moved to https://api.example.org{PREFIX}" in text
    assert len(afdc.requests) == 3


@pytest.mark.parametrize("request_number", [0, 1], ids=["last-updated", "stations"])
def test_an_html_page(poll: Poller, afdc: AfdcServer, request_number: int) -> None:
    afdc.faults.extend([None] * request_number + [html])
    poll.fails("an HTML page came where JSON is due")


def test_a_key_that_is_refused(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.append(status(403, error="API_KEY_DISABLED"))
    poll.fails(r"refuses the key in EVCHARGE_AFDC_API_KEY \(API_KEY_DISABLED\)")
    wrong = poll.settings.model_copy(update={"afdc_api_key": type(poll.settings.afdc_api_key)("wrong")})
    with pytest.raises(RegistryError, match="API_KEY_INVALID"):
        feed.poll(wrong, open_publisher=poll.kafka)


def test_an_address_without_api(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.append(status(404, error="NOT_FOUND"))
    poll.fails("no such API")


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: document["fuel_stations"][3].pop(name)


@pytest.mark.parametrize(
    ("drift", "says"),
    [
        (lambda document: document.pop("fuel_stations"), "no list `fuel_stations`"),
        (lambda document: document.update(fuel_stations={"1": {}}), "no list `fuel_stations`"),
        (lambda document: document.update(total_results=85_923), "total_results is 85923, but 10 stations came"),
        (lambda document: document.pop("total_results"), "total_results is None"),
        (without("latitude"), "station 4 has no `latitude`"),
        (without("ev_connector_types"), "station 4 has no `ev_connector_types`"),
        (
            lambda document: [s.update(latitude={"wgs84": 47.6}) for s in document["fuel_stations"][:3]],
            r"3 of 10 stations cannot be read: AFDC's schema has changed \(UNPARSABLE_COORDINATES\)",
        ),
        (lambda document: document.update(fuel_stations=[], total_results=0), "no electric station came"),
    ],
)
def test_schema_drift(poll: Poller, afdc: AfdcServer, drift: Callable[[dict[str, Any]], Any], says: str) -> None:
    afdc.faults.extend([None, changed(drift)])
    poll.fails(says)


def test_drift_of_last_updated(poll: Poller, afdc: AfdcServer) -> None:
    afdc.faults.append(changed(lambda document: document.clear()))
    poll.fails("last-updated.json has no `last_updated`")


def test_a_snapshot_that_lost_too_much(poll: Poller, afdc: AfdcServer) -> None:
    poll()
    copy = Path(feed.status(poll.settings)["last_good_copy"]["file"]).read_bytes()
    afdc.update([electric(number) for number in range(1, 8)], "2025-12-13T00:00:00Z")
    poll.fails("3 of the 10 current stations in scope all are missing", VanishingError)
    assert Path(feed.status(poll.settings)["last_good_copy"]["file"]).read_bytes() == copy
    report = poll(confirm_removals=True)
    assert report.load is not None
    assert report.load.changes["gone"] == 3


def test_no_network_keeps_the_last_good_copy(poll: Poller, afdc: AfdcServer) -> None:
    poll()
    elsewhere = poll.settings.model_copy(update={"afdc_api_url": f"http://127.0.0.1:1{PREFIX}"})
    offline = Poller(elsewhere, poll.kafka)
    text = offline.fails(r"127\.0\.0\.1:1: cannot be reached")
    assert "the last good copy, " in text
    assert text.endswith(" old, stays in use")
    assert len(feed.known_stations(poll.settings)) == 10


def test_kafka_down_then_the_next_poll_completes(poll: Poller) -> None:
    poll.kafka.fail_after = ServerDownError("kafka does not answer")
    with pytest.raises(ServerDownError, match="kafka does not answer; there is no earlier copy"):
        poll()
    poll.kafka.fail_after = None
    report = poll()
    assert report.load is not None
    assert (report.load.completed, report.load.published) == (10, 0)
    assert poll().outcome == "unchanged"


def test_no_key(tmp_path: Path, afdc: AfdcServer, kafka: RecordingKafka) -> None:
    settings = load_settings(home=tmp_path, afdc_api_url=afdc.url)
    with pytest.raises(NoKeyError, match="EVCHARGE_AFDC_API_KEY is not set"):
        feed.poll(settings, open_publisher=kafka)
    assert afdc.requests == []
    assert feed.status(settings)["last_poll"]["outcome"] == "not polled"


def test_the_key_is_in_no_address_and_no_log(
    poll: Poller, afdc: AfdcServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    afdc.faults.append(status(503))
    poll()
    assert not any(KEY in request for request in afdc.requests)
    captured = capsys.readouterr()
    assert KEY not in caplog.text + captured.out + captured.err
    assert KEY not in str(feed.status(poll.settings))


def test_the_command(
    poll: Poller, afdc: AfdcServer, kafka: RecordingKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evcharge.cli.app import app

    monkeypatch.setenv("EVCHARGE_HOME", str(tmp_path))
    monkeypatch.setenv("EVCHARGE_AFDC_API_URL", afdc.url)
    monkeypatch.setenv("EVCHARGE_AFDC_API_KEY", KEY)
    publish_with(monkeypatch, feed.poll, kafka)
    result = CliRunner().invoke(app, ["registry", "poll"])
    assert result.exit_code == 0, result.output
    assert "published 10 messages: 10 new" in result.stdout
    assert CliRunner().invoke(app, ["registry", "poll"]).stdout == f"unchanged since {afdc.last_updated}\n"
    assert json.loads(CliRunner().invoke(app, ["registry", "poll", "--json"]).stdout)["outcome"] == "unchanged"
    assert "last poll: unchanged" in CliRunner().invoke(app, ["registry", "status"]).stdout
