"""A routing engine, where the platform has one: the way through some places by OSRM's or Valhalla's HTTP API.

The estimate from freeways stands in for an engine that does not answer (`evcharge.trips.roads`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np

from evcharge.trips.energy import Floats
from evcharge.trips.roads import Route

if TYPE_CHECKING:
    import requests

Kind = Literal["osrm", "valhalla"]

#: A trip is answered in half a second: an engine of one's own answers in some 20 ms.
TIMEOUT_S = 3.0
ATTEMPTS = 2
#: An engine that did not answer is left alone for this long, so that it does not hold up every question.
_LEFT_ALONE_S = 30.0
_LONGEST_ANSWER = 20_000_000
_FEWEST_PARTS = 2


class RoutingError(Exception):
    """The engine does not answer, or finds no way. The message is one line."""


class RoutingEngine:
    """An engine at a base address, such as http://127.0.0.1:5000. Any number of threads may use it."""

    def __init__(self, url: str, kind: Kind | None = None) -> None:
        """Without a `kind`, the first answer says which it is."""
        self._url = url.rstrip("/")
        self._kind = kind
        self._again_at = 0.0
        self._reason = ""

    @property
    def host(self) -> str:
        return urlsplit(self._url).netloc

    def routes(self, places: Sequence[tuple[float, float]]) -> list[Route]:
        """The way from each place (latitude, longitude) to the next. Raises RoutingError."""
        if time.monotonic() < self._again_at:
            raise RoutingError(self._reason)
        try:
            if self._kind is None:
                self._kind = self._detected()
            ask = _osrm if self._kind == "osrm" else _valhalla
            return ask(self, places)
        except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
            self._reason = f"the routing engine at {self.host} does not answer ({_short(error)})"
            self._again_at = time.monotonic() + _LEFT_ALONE_S
            raise RoutingError(self._reason) from None

    def _detected(self) -> Kind:
        """Valhalla has a status page. OSRM answers that address with an error of its own."""
        answer = self._request("/status", None, None)
        return "valhalla" if answer.ok and "version" in answer.json() else "osrm"

    def json(self, path: str, body: Any = None, parameters: dict[str, str] | None = None) -> Any:
        """The engine's answer. Raises RoutingError where it finds no way."""
        answer = self._request(path, body, parameters)
        if len(answer.content) > _LONGEST_ANSWER:
            raise ValueError("its answer is too long")
        document = answer.json()
        if not answer.ok:
            message = document.get("message") or document.get("error") or f"status {answer.status_code}"
            raise RoutingError(f"the routing engine at {self.host} finds no way: {str(message)[:100]}")
        return document

    def _request(self, path: str, body: Any, parameters: dict[str, str] | None) -> requests.Response:
        """An attempt that fails is repeated once."""
        import requests

        for attempt in range(ATTEMPTS):
            try:
                answer = requests.request(
                    "GET" if body is None else "POST",
                    f"{self._url}{path}",
                    json=body,
                    params=parameters,
                    timeout=TIMEOUT_S,
                )
                if answer.status_code >= 500:
                    answer.raise_for_status()
                return answer
            except requests.RequestException:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")


def _osrm(engine: RoutingEngine, places: Sequence[tuple[float, float]]) -> list[Route]:
    """OSRM's service `route` of version 1: metres and seconds of each piece between two points of the geometry."""
    line = ";".join(f"{longitude:.6f},{latitude:.6f}" for latitude, longitude in places)
    parameters = {"overview": "full", "geometries": "polyline6", "annotations": "distance,duration"}
    found = engine.json(f"/route/v1/driving/{line}", parameters=parameters)["routes"][0]
    points = polyline(found["geometry"])
    routes, at = [], 0
    for leg in found["legs"]:
        meters, seconds = leg["annotation"]["distance"], leg["annotation"]["duration"]
        part = points[at : at + len(meters) + 1]
        at += len(meters)
        routes.append(_route(part, np.cumsum([0.0, *meters]) / 1000, np.cumsum([0.0, *seconds]), "osrm"))
    return routes


def _valhalla(engine: RoutingEngine, places: Sequence[tuple[float, float]]) -> list[Route]:
    """Valhalla's service `route`: a shape of each leg, and length (km) and time (s) of its manoeuvres."""
    locations = [{"lat": latitude, "lon": longitude} for latitude, longitude in places]
    body = {"locations": locations, "costing": "auto", "units": "kilometers"}
    routes = []
    for leg in engine.json("/route", body)["trip"]["legs"]:
        points = polyline(leg["shape"])
        parts = leg["maneuvers"]
        begins = [part["begin_shape_index"] for part in parts]
        kms = np.cumsum([0.0, *(part["length"] for part in parts)])[: len(parts)]
        seconds = np.cumsum([0.0, *(part["time"] for part in parts)])[: len(parts)]
        if len(begins) < _FEWEST_PARTS or begins[-1] != len(points) - 1:
            begins, kms = [*begins, len(points) - 1], np.append(kms, leg["summary"]["length"])
            seconds = np.append(seconds, leg["summary"]["time"])
        # Within a manoeuvre, places are spread by the points of its shape.
        index = np.arange(len(points))
        routes.append(_route(points, np.interp(index, begins, kms), np.interp(index, begins, seconds), "valhalla"))
    return routes


def _route(points: Floats, km_at: Floats, seconds_at: Floats, source: str) -> Route:
    if len(points) != len(km_at) or not len(points) or not np.isfinite([km_at[-1], seconds_at[-1]]).all():
        raise ValueError("its answer does not fit its own geometry")
    if len(points) == 1:
        points, km_at, seconds_at = (np.repeat(values, 2, axis=0) for values in (points, km_at, seconds_at))
    # 600 points are enough for a map, and stations beside the way are compared with each.
    kept = np.unique(np.linspace(0, len(points) - 1, 600).astype(int))
    return Route(points[kept], km_at[kept], seconds_at[kept], source)


def polyline(text: str, precision: int = 6) -> Floats:
    """The points, of shape (n, 2) in degrees, of an encoded polyline (Google's algorithm)."""
    numbers, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 63
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits < 0x20:
            numbers.append(~(value >> 1) if value & 1 else value >> 1)
            value = shift = 0
    return np.cumsum(np.array(numbers, dtype=float).reshape(-1, 2), axis=0) / 10**precision


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    kind = type(error).__name__
    return kind if isinstance(error, KeyError | IndexError | TypeError) or not text else f"{kind}: {text[:120]}"
