"""A browser, and a dashboard over real servers with a live stream: stations between Omaha and Denver, some with cars."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import pytest
from live_stream import Stream
from playwright.sync_api import Browser, Page, Request, ViewportSize, expect, sync_playwright
from servers import free_port
from support import meter, position, record, send, station, stopped

from evcharge.contracts import SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.settings import PROJECT, Settings

DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PREFIX = f"e2e-{token_hex(3)}-"
#: Two charging parks at each of these exits of Interstate 80. Other tests put nothing there.
EXITS = {
    "omaha": (41.256, -95.934),
    "york": (40.868, -97.592),
    "kearney": (40.699, -99.081),
    "north-platte": (41.124, -100.765),
    "sterling": (40.626, -103.208),
}
EVSES = 2
#: A machine that runs all tests is busy now and then.
TIMEOUT_MS = 30_000


class World:
    """What the tests send to Kafka, as chargers and cars do."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stations = {f"{exit}-{letter}": place for exit, place in EXITS.items() for letter in "ab"}
        self.running: dict[str, str] = {}

    def id(self, name: str) -> str:
        """The id of a station or car."""
        return PREFIX + name

    def open(self) -> None:
        """Registers the stations, ends a session at each EVSE, and lets a car drive towards Kearney."""
        rows = []
        for number, (name, (latitude, longitude)) in enumerate(self.stations.items()):
            evses = [
                {"evse_id": evse_id, "connector_id": "1", "connector_type": "J1772COMBO", "power_kw": 150.0}
                for evse_id in self._evses(name)
            ]
            rows.append(
                station(
                    self.id(name),
                    # a hostile name, which pages show as text
                    station_name=f"{name.replace('-', ' ').title()} <b>&amp;</b> Park",
                    latitude=latitude + 0.01 * (number % 2),
                    longitude=longitude,
                    time_zone="America/Chicago",
                    network="Prairie" if number % 2 else "Platte",
                    evses=evses,
                    connector_types=["J1772COMBO"],
                    observed_at=datetime.now(UTC),
                )
            )
        send(self.settings, STATION_REGISTRY.topic, [record(STATION_REGISTRY, row) for row in rows])
        for name in self.stations:
            self.free(name)
        car = position(
            self.id("car"),
            datetime.now(UTC),
            latitude=40.92,
            longitude=-98.34,
            speed_kmh=105.0,
            heading=250.0,
            ignition=True,
            range_km=190.0,
            destination_station_id=self.id("kearney-a"),
            ev_model_id="hyundai-ioniq-5",
        )
        send(self.settings, VEHICLE_TELEMETRY.topic, [record(VEHICLE_TELEMETRY, car)])

    def fill(self, name: str) -> None:
        """A car begins to charge at each EVSE."""
        for evse_id in self._evses(name):
            session = self.running[evse_id] = f"{PREFIX}s-{token_hex(4)}"
            self._send(meter(session, self.id(name), evse_id=evse_id, event_type="started", energy_delivered_kwh=0.0))

    def free(self, name: str) -> None:
        """The car at each EVSE leaves."""
        for evse_id in self._evses(name):
            session = self.running.pop(evse_id, f"{PREFIX}s-{token_hex(4)}")
            self._send(stopped(session, self.id(name), evse_id=evse_id))

    def _evses(self, name: str) -> Iterable[str]:
        return [f"{self.id(name)}-{number}" for number in range(1, EVSES + 1)]

    def _send(self, row: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        begun = {"started_at": now - timedelta(hours=1)} if row["event_type"] == "stopped" else {}
        send(self.settings, SESSION_EVENTS.topic, [record(SESSION_EVENTS, row | {"occurred_at": now} | begun)])


@pytest.fixture(scope="module")
def world(platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world, live: the stream has folded all that it sent."""
    world = World(platform)
    world.open()
    with Stream(platform, tmp_path_factory.mktemp("stream") / "stream.log") as stream:
        for query in ("stations", "registry", "vehicles"):
            stream.wait_until_fresh(datetime.now(UTC), query)
        yield world


@pytest.fixture(scope="module")
def address(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the dashboard is, as `evcharge dashboard` runs it."""
    port, log = free_port(), tmp_path_factory.mktemp("dashboard") / "dashboard.log"
    command = [str(Path(sys.executable).with_name("evcharge")), "dashboard", "--port", str(port)]
    limit = {"EVCHARGE_DASHBOARD_REQUESTS_PER_MINUTE": "100000"}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | limit, cwd=PROJECT
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(port):
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/api/v1/config")
            return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which draws WebGL without a graphics card."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: sudo apt-get install -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--enable-unsafe-swiftshader", "--no-sandbox"]
        )
        expect.set_options(timeout=TIMEOUT_MS)
        yield browser
        browser.close()


class Visit:
    """Opens pages of the dashboard and keeps what they asked for outside of it, and the errors of their scripts."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.outside: list[str] = []
        self.errors: list[str] = []
        self._contexts: list[Any] = []

    def page(self, viewport: ViewportSize = DESKTOP, **options: Any) -> Page:
        """An empty page."""
        context = self.browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(TIMEOUT_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def open(self, path: str, ready: str, viewport: ViewportSize = DESKTOP, **options: Any) -> Page:
        """A new page at a path, once it shows its first data."""
        page = self.page(viewport, **options)
        page.goto(self.address + path)
        page.wait_for_selector(f'html[data-ready="{ready}"]')
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.address:
            self.outside.append(request.url)


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Fails a test whose pages asked for anything outside the dashboard, or had an error in a script."""
    visit = Visit(browser, address)
    yield visit
    visit.close()
    assert not visit.outside
    assert not visit.errors
