"""The dashboard in headless Chromium: when its map is usable, what a pan takes, and when a change is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

#: WebGL without a graphics card: Chromium draws with SwiftShader, on the processors that everything else runs on.
ARGUMENTS = ["--enable-unsafe-swiftshader", "--no-sandbox"]
DESKTOP = {"width": 1440, "height": 900}
#: What is not shown after this is lost.
PATIENCE_S = 60
#: A screen is 4 km wide. The simulation's cities have 700 stations each within 7 km: where two of them meet, a screen of zoom
#: 13 has more than are shown one by one.
TOWN_ZOOM = 14.0
#: After a jump, until the page asks for nothing any more: it subscribes to its new view, and asks again once it has.
_CALM_MS = 2_000

# The station is looked for in each frame: its icon is placed some frames after the page has it. The next frame begins when that
# one is drawn. Before the move the station is a screen or more away, so it is not among what is drawn.
_MOVE = """async ([id, patience_ms, center]) => {
  const map = window.evcharge.map
  const isDrawn = () =>
    map.queryRenderedFeatures({ layers: ["stations"] }).some(({ properties }) => properties.id === id)
  if (isDrawn()) throw new Error(`${id} was drawn before`)
  const shown = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${id} was not drawn`)), patience_ms)
    const look = () => requestAnimationFrame(isDrawn() ? () => resolve(performance.now()) : look)
    look()
  })
  const begun = performance.now()
  if (center) map.jumpTo({ center })
  else map.panBy([map.getContainer().clientWidth, 0], { duration: 0 })
  return (await shown) - begun
}"""

# The same for a state on the map and in the list.
_WATCH = """([id, state, patience_ms]) => {
  const row = `#stations [data-station-id="${id}"][data-state="${state}"]`
  const isDrawn = () => document.querySelector(row) && window.evcharge.map.queryRenderedFeatures({ layers: ["stations"] })
    .some(({ properties }) => properties.id === id && properties.state === state)
  window.drawn = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${id} did not become ${state}`)), patience_ms)
    const look = () => requestAnimationFrame(isDrawn() ? () => resolve(Date.now() / 1000) : look)
    look()
  })
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Raises RuntimeError if there is none."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """A page with a usable map, in a context of its own: nothing of it is cached."""
    context = browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.goto(url, wait_until="commit", timeout=PATIENCE_S * 1000)
        page.wait_for_selector('html[data-ready="map"]', state="attached", timeout=PATIENCE_S * 1000)
        yield page
    finally:
        context.close()


def usable_s(browser: Browser, address: str) -> float:
    """Seconds from the navigation to the map of the whole country until it is usable, with empty caches."""
    with opened(browser, address) as page:
        return float(page.evaluate("performance.getEntriesByName('map-ready')[0].startTime")) / 1000


def smallest_s(browser: Browser, address: str) -> float:
    """Seconds from the navigation to the server's smallest answer until the browser has loaded it."""
    context = browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        page.goto(f"{address}/api/v1/config", wait_until="load", timeout=PATIENCE_S * 1000)
        return float(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")) / 1000
    finally:
        context.close()


def pan_ms(page: Page, station_id: str, latitude: float, longitude: float) -> float:
    """Milliseconds until a station is drawn that the page pans to by a screen, from the one to the west of it."""
    page.evaluate(
        "([center, zoom]) => { const map = window.evcharge.map; map.jumpTo({ center, zoom }); "
        "map.panBy([-map.getContainer().clientWidth, 0], { duration: 0 }) }",
        [[longitude, latitude], TOWN_ZOOM],
    )
    calm(page)
    return float(page.evaluate(_MOVE, [station_id, PATIENCE_S * 1000, None]))


def jump_ms(page: Page, station_id: str, latitude: float, longitude: float) -> float:
    """Milliseconds until a station is drawn that the page jumps to from far away."""
    calm(page)
    return float(page.evaluate(_MOVE, [station_id, PATIENCE_S * 1000, [longitude, latitude]]))


def watch(page: Page, station_id: str, state: str) -> None:
    """Lets the page look for a station's state, on its map and in its list."""
    page.evaluate(_WATCH, [station_id, state, PATIENCE_S * 1000])


def drawn_at(page: Page) -> float:
    """When what was looked for last was drawn, in seconds since the epoch."""
    return float(page.evaluate("window.drawn"))


def calm(page: Page) -> None:
    """Waits until the page has subscribed to its view."""
    page.wait_for_timeout(_CALM_MS)
