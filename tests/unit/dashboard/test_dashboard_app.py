"""The web application: who may ask, what an error says, and what a browser may do. No server runs: none answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import dashboard
from dashboard.app import create_app
from evcharge.queries.client import Queries
from evcharge.queries.dashboard import DashboardOptions, options
from evcharge.settings import load_settings

OPTIONS = DashboardOptions(
    port=13080,
    hosts=("127.0.0.1", "localhost", "charge.example.org"),
    proxies=0,
    tile_url="",
    dagster_url="http://127.0.0.1:13000",
    version="1.2.3",
    streams=2,
    requests_per_minute=1_000,
)
VIEW = "west=-119&south=33&east=-118&north=35"
PAGES = ("/", "/stations/any", "/trip", "/network", "/status")
Open = Callable[..., FlaskClient]


@pytest.fixture
def client_of(tmp_path: Path) -> Open:
    """A client of an application whose stores are down."""

    def opened(**changed: object) -> FlaskClient:
        # nothing listens there, also where a platform runs on the usual ports
        settings = load_settings(home=tmp_path, port_offset=40_000)
        return create_app(Queries(settings), replace(OPTIONS, **changed)).test_client()  # type: ignore[arg-type]

    return opened


@pytest.fixture
def client(client_of: Open) -> FlaskClient:
    return client_of()


def problem(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json"
    body = json.loads(answer.data)
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == answer.status_code
    return body["status"], body["detail"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_that_it_needs_javascript_and_has_no_script_inside(client: FlaskClient, page: str) -> None:
    answer = client.get(page)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "<noscript>" in answer.text
    assert '<main id="main"' in answer.text
    assert not re.search(r"<script(?![^>]* src=\"/static/)", answer.text)
    assert not re.search(r"\son\w+=|\sstyle=|https?://", answer.text)


@pytest.mark.parametrize("path", [*PAGES, "/nowhere", "/api/v1/config", "/api/v1/nowhere", f"/api/v1/stations?{VIEW}"])
def test_every_answer_has_the_headers_that_bind_the_browser(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "geolocation=(self)" in headers["Permissions-Policy"]


def test_the_browser_may_load_the_tiles_that_are_set(client_of: Open) -> None:
    client = client_of(tile_url="https://tiles.example.org:8443/{z}/{x}/{y}.png")
    policy = dict(part.split(" ", 1) for part in client.get("/").headers["Content-Security-Policy"].split("; "))
    assert policy["connect-src"] == "'self' https://tiles.example.org:8443"
    assert policy["img-src"].endswith(" https://tiles.example.org:8443")
    assert policy["default-src"] == "'self'"
    assert client.get("/api/v1/config").json["tile_url"].startswith("https://tiles.example.org:8443/")  # type: ignore[index]


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:13080", 200), ("charge.example.org", 200), ("evil.example", 400)]
)
def test_only_the_hosts_that_are_set_are_served(client: FlaskClient, host: str, status: int) -> None:
    for path in ("/", "/api/v1/config"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status
        assert "evil" not in answer.text


def test_a_page_of_another_site_may_link_here_and_nothing_else(client: FlaskClient) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/v1/config", headers=foreign).status_code == 403
    assert client.get("/", headers=foreign).status_code == 403
    assert client.get("/", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/api/v1/config", headers=foreign | {"Sec-Fetch-Mode": "navigate"}).status_code == 403
    assert client.get("/api/v1/config", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_what_does_not_exist_is_a_page_or_a_problem(client: FlaskClient) -> None:
    page = client.get("/<script>alert(1)</script>")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "alert" not in page.text
    assert problem(client.get("/api/v1/<script>")) == (404, "there is nothing at this address")
    answer = client.post("/api/v1/config")
    assert problem(answer)[0] == 405
    assert "GET" in answer.headers["Allow"]


def test_a_server_that_is_down_is_named_and_nothing_else_is_told(client: FlaskClient) -> None:
    for path in (f"/api/v1/stations?{VIEW}", "/api/v1/stations/s", f"/api/v1/vehicles?{VIEW}", "/api/v1/vehicles/c"):
        answer = client.get(path)
        assert problem(answer) == (503, "elasticsearch does not answer")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("west=0", "south: Field required, east: Field required, north: Field required"),
        (f"{VIEW}&north=91", "less than or equal to 90"),
        (f"{VIEW}&nort=5", "nort: Extra inputs are not permitted"),
        (f"{VIEW}&zoom=NaN", "zoom: "),
        ("west=0&south=5&east=1&north=4", "south 5 is north of north 4"),
        (f"{VIEW}&connector=<img onerror=alert(1)>", "'<img onerror=alert(1)>' is not known"),
        (f"{VIEW}&favourites={'x,' * 201}", "at most 200 ids"),
        (f"{VIEW}&min_free=1e400", "min_free: "),
    ],
)
def test_a_bad_parameter_is_named(client: FlaskClient, query: str, detail: str) -> None:
    query = query.replace(f"{VIEW}&north=91", "west=0&south=0&east=1&north=91")
    status, told = problem(client.get(f"/api/v1/stations?{query}"))
    assert status == 422
    assert detail in told


def test_the_reason_of_an_unexpected_error_is_in_the_log_only(
    capsys: pytest.CaptureFixture[str], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(Queries, "map", fail)
    answer = client.get(f"/api/v1/stations?{VIEW}")
    assert problem(answer) == (500, "the dashboard failed at this; its log says why")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "swordfish" in lines[0]["traceback"]
    assert lines[0]["request_id"] == lines[1]["request_id"]
    assert lines[0]["request_id"] not in answer.text + str(answer.headers)


def test_nothing_that_a_client_sends_begins_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], client: FlaskClient
) -> None:
    client.get('/x%0a{"status":200}%0d%0a\x1b[31m', headers={"User-Agent": "a\x1b[31m", "X-Forwarded-For": "1.2.3.4\t"})
    client.get("/api/v1/stations/s%0a2?secret=swordfish")
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["status"] for line in lines if '"request"' in line] == [404, 503]
    assert len(lines) == 3, "the server that is down has a line of its own"
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert "swordfish" not in "".join(lines)
    assert "1.2.3.4" not in "".join(lines)


def test_an_address_may_ask_so_often_a_minute(client_of: Open) -> None:
    client = client_of(requests_per_minute=3)
    assert [client.get("/api/v1/config").status_code for _ in range(3)] == [200] * 3
    answer = client.get("/api/v1/config")
    assert problem(answer) == (429, "too many requests from this address; wait a minute")
    assert answer.headers["Retry-After"] == "60"
    assert client.get("/").status_code == 429
    assert client.get("/static/nothing.js").status_code == 404
    other = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/api/v1/config", environ_overrides=other).status_code == 200
    # who asks this says nothing unless a proxy is expected
    assert client.get("/api/v1/config", headers={"X-Forwarded-For": "192.0.2.9"}).status_code == 429


def test_a_trip_counts_for_ten_other_questions(client_of: Open) -> None:
    client = client_of(requests_per_minute=20)
    trip = "/api/v1/trip?from=Los Angeles, CA&to=San Diego, CA&model=none&soc=50"
    assert [client.get(trip).status_code for _ in range(3)] == [503, 503, 429]
    assert client.get("/api/v1/config").status_code == 200


def test_the_proxy_says_who_asks_if_one_is_expected(client_of: Open) -> None:
    client = client_of(requests_per_minute=1, proxies=1)
    for last in (1, 2):
        headers = {"X-Forwarded-For": f"10.9.9.9, 192.0.2.{last}", "X-Forwarded-Host": "charge.example.org"}
        assert client.get("/api/v1/config", headers=headers).status_code == 200
        assert client.get("/api/v1/config", headers=headers).status_code == 429
    foreign = {"X-Forwarded-For": "192.0.2.3", "X-Forwarded-Host": "evil.example"}
    assert client.get("/api/v1/config", headers=foreign).status_code == 400


def test_a_stream_beyond_the_limit_is_refused(client_of: Open) -> None:
    client = client_of(streams=1)
    opened = client.get(f"/api/v1/events?{VIEW}")
    assert (opened.status_code, opened.mimetype) == (200, "text/event-stream")
    assert opened.headers["Cache-Control"] == "no-store"
    refused = client.get(f"/api/v1/events?{VIEW}")
    assert problem(refused) == (503, "too many pages are open; this one asks again")
    assert int(refused.headers["Retry-After"]) > 0
    assert next(iter(opened.response)) == b"retry: 3000\n\n"
    opened.close()
    for ask in (client.head, client.get, client.get):
        unread = ask(f"/api/v1/events?{VIEW}")
        assert unread.status_code == 200
        unread.close()


def test_a_stream_is_not_compressed(client: FlaskClient) -> None:
    packed = {"Accept-Encoding": "br, gzip, zstd"}
    stream = client.get(f"/api/v1/events?{VIEW}", headers=packed)
    assert "Content-Encoding" not in stream.headers
    stream.close()
    assert client.get("/api/v1/openapi.json", headers=packed).headers["Content-Encoding"] in ("br", "gzip", "zstd")


def test_browsers_keep_files_whose_name_changes_with_them(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.application, "static_folder", str(tmp_path))
    for name in ("map.js", "chunk-A1B2C3D4.js"):
        (tmp_path / name).write_text("let x")
    page, chunk = client.get("/static/map.js"), client.get("/static/chunk-A1B2C3D4.js")
    assert page.headers["Cache-Control"] == "no-cache"
    assert "immutable" in chunk.headers["Cache-Control"]
    assert client.get("/static/map.js", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_loopback_is_always_served(tmp_path: Path) -> None:
    known = options(load_settings(home=tmp_path, dashboard_hosts="charge.example.org"))
    assert set(known.hosts) == {"charge.example.org", "127.0.0.1", "localhost"}


def test_the_description_has_every_question_and_only_questions(client: FlaskClient) -> None:
    described = client.get("/api/v1/openapi.json").json
    assert described is not None
    rules = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.rule.endswith("openapi.json")
    }
    assert described["paths"].keys() == rules
    assert {method for path in described["paths"].values() for method in path} == {"get"}


def test_the_application_imports_nothing_but_the_questions() -> None:
    folder = Path(dashboard.__file__).parent
    imported = {
        name for path in folder.glob("*.py") for name in re.findall(r"from (evcharge\S*) import", path.read_text())
    }
    assert imported == {"evcharge.queries.dashboard"}
