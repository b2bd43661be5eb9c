"""Takes the pictures in `docs/images` from the running platform: `make screenshots`."""

from __future__ import annotations

import shutil
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from evcharge.settings import PROJECT, load_settings

IMAGES = PROJECT / "docs" / "images"
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 375, "height": 812}
TIMEOUT_MS = 60_000
#: Until tiles, fonts and charts are drawn.
SETTLED_MS = 2_500
#: Where the example registry has most stations.
LOS_ANGELES = "at=34.05,-118.25,9.6"
_TRIP = {"from": "Boston, MA", "to": "New York, NY", "model": "hyundai-ioniq-5", "soc": 60}


@dataclass(frozen=True, slots=True)
class Picture:
    """A page in a window, and the name of its file."""

    name: str
    path: str
    ready: str
    is_phone: bool = False
    is_dark: bool = False


def pictures(busy_station: str) -> Iterator[Picture]:
    """Every picture; `busy_station` is the id of a station whose page has something to show."""
    trip = f"/trip?{urllib.parse.urlencode(_TRIP)}"
    station = f"/stations/{urllib.parse.quote(busy_station)}"
    yield Picture("map", f"/?{LOS_ANGELES}&cars=true", "map")
    yield Picture("map-dark", f"/?{LOS_ANGELES}", "map", is_dark=True)
    yield Picture("map-phone", f"/?{LOS_ANGELES}", "map", is_phone=True)
    yield Picture("station", station, "station")
    yield Picture("station-phone", station, "station", is_phone=True)
    yield Picture("trip", trip, "trip")
    yield Picture("trip-phone", trip, "trip", is_phone=True)
    yield Picture("network", "/network", "network")
    yield Picture("status", "/status", "status")


def busiest(address: str) -> str:
    """The id of the station near Los Angeles with most outlets in use."""
    box = urllib.parse.urlencode({"west": -118.7, "south": 33.6, "east": -117.6, "north": 34.4, "zoom": 12})
    with urllib.request.urlopen(f"{address}/api/v1/stations?{box}", timeout=30) as response:
        stations = orjson.loads(response.read())["stations"]
    known = [one for one in stations if one["state"] in ("free", "busy")] or stations
    if not known:
        sys.exit("there is no station on the map yet: wait until `make up` has finished")
    return str(max(known, key=lambda one: (one["total"] - one["free"], one["id"]))["id"])


def take(browser: Browser, address: str, picture: Picture) -> None:
    """Writes one picture."""
    context = browser.new_context(
        viewport=PHONE if picture.is_phone else DESKTOP, color_scheme="dark" if picture.is_dark else "light"
    )
    page = context.new_page()
    page.goto(address + picture.path)
    page.wait_for_selector(f'html[data-ready="{picture.ready}"]', state="attached", timeout=TIMEOUT_MS)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=IMAGES / f"{picture.name}.png")
    context.close()


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is missing: sudo apt-get install -y chromium")
    address = f"http://127.0.0.1:{load_settings().dashboard_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--enable-unsafe-swiftshader", "--no-sandbox"]
        )
        for picture in pictures(busiest(address)):
            take(browser, address, picture)
            sys.stdout.write(f"docs/images/{picture.name}.png\n")
        browser.close()


if __name__ == "__main__":
    main()
