"""A local server with the semantics of AFDC's API, and with its faults on request.

It serves `last-updated.json` and the list of all stations, checks the key, sends the rate limit in headers, and answers
wrong parameters as the API does. The next requests get the `faults`, in order, in place of good answers.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

KEY = "local-key-0123456789abcdef"
PREFIX = "/api/alt-fuel-stations/v1"
HTML = b"<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"

Station = dict[str, Any]
Reply = tuple[int, dict[str, str], bytes]
#: Makes another reply from the good one.
Fault = Callable[[Reply], Reply]


def electric(number: int, **fields: Any) -> Station:
    """A record with the fields of the API that a registry can use, in Seattle unless `fields` say otherwise."""
    return {
        "access_code": "public",
        "date_last_confirmed": "2025-12-12",
        "fuel_type_code": "ELEC",
        "id": number,
        "status_code": "E",
        "station_name": f"Station {number}",
        "updated_at": "2025-12-12T03:48:18Z",
        "latitude": 47.6062,
        "longitude": -122.3321,
        "city": "Seattle",
        "country": "US",
        "state": "WA",
        "zip": "98101",
        "ev_connector_types": ["J1772"],
        "ev_dc_fast_num": None,
        "ev_level1_evse_num": None,
        "ev_level2_evse_num": 2,
        "ev_network": "Non-Networked",
        "ev_charging_units": None,
        **fields,
    }


def from_download(row: dict[str, str]) -> Station:
    """The API's record of a row of a CSV download."""
    number: Callable[[str], int | None] = lambda text: int(text) if text else None  # noqa: E731
    return electric(
        int(row["ID"]),
        fuel_type_code=row["Fuel Type Code"],
        station_name=row["Station Name"],
        city=row["City"],
        state=row["State"],
        zip=row["ZIP"],
        country=row["Country"],
        latitude=float(row["Latitude"]),
        longitude=float(row["Longitude"]),
        status_code=row["Status Code"],
        ev_network=row["EV Network"] or None,
        ev_connector_types=row["EV Connector Types"].split() or None,
        ev_level1_evse_num=number(row["EV Level1 EVSE Num"]),
        ev_level2_evse_num=number(row["EV Level2 EVSE Num"]),
        ev_dc_fast_num=number(row["EV DC Fast Count"]),
    )


def status(code: int, headers: dict[str, str] | None = None, error: str = "") -> Fault:
    """An error of the API, with its object if `error` names a code."""
    body = json.dumps({"error": {"code": error, "message": f"{error} for key {KEY}"}}).encode() if error else b""
    return lambda reply: (code, headers or {}, body)


def over_limit(**headers: str) -> Fault:
    """429 as the API sends it; header names with `_` for `-`."""
    return status(429, {name.replace("_", "-"): value for name, value in headers.items()}, "OVER_RATE_LIMIT")


def moved(location: str, code: int = 301) -> Fault:
    return lambda reply: (code, {"Location": location}, b"")


def html(reply: Reply) -> Reply:
    return 200, {"Content-Type": "text/html"}, HTML


def truncated(reply: Reply) -> Reply:
    """Half of the body, and nothing that says so."""
    return reply[0], reply[1], reply[2][: len(reply[2]) // 2]


def broken_off(reply: Reply) -> Reply:
    """Half of the body under the length of the whole."""
    return reply[0], reply[1] | {"Content-Length": str(len(reply[2]))}, reply[2][: len(reply[2]) // 2]


def changed(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """The document after `change`: schema drift."""

    def fault(reply: Reply) -> Reply:
        document = json.loads(reply[2])
        change(document)
        return reply[0], reply[1], json.dumps(document).encode()

    return fault


@dataclass
class AfdcServer:
    """Use it as a context manager; `url` is the base address to set as EVCHARGE_AFDC_API_URL."""

    stations: list[Station] = field(default_factory=list)
    last_updated: str = "2025-12-12T03:48:18Z"
    faults: deque[Fault | None] = field(default_factory=deque)
    #: Path with query of each request that came.
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{PREFIX}"

    def update(self, stations: list[Station], last_updated: str) -> None:
        self.stations, self.last_updated = stations, last_updated

    def reply(self, path: str, query: dict[str, list[str]], key: str | None) -> Reply:
        """What the API answers on a good day."""
        if key is None or key != KEY:
            return status(403, error="API_KEY_INVALID" if key else "API_KEY_MISSING")((0, {}, b""))
        if path == f"{PREFIX}/last-updated.json":
            return _json({"last_updated": self.last_updated})
        if path != f"{PREFIX}.json":
            return status(404, error="NOT_FOUND")((0, {}, b""))
        fuels = set(query.get("fuel_type", ["all"])[0].split(","))
        found = [s for s in self.stations if "all" in fuels or s["fuel_type_code"] in fuels]
        limit = query.get("limit", ["all"])[0]
        if limit != "all" and not (limit.isdigit() and int(limit) <= 200):
            return 422, {}, json.dumps({"errors": [f"limit {limit} is not between 0 and 200, or all"]}).encode()
        shown = found if limit == "all" else found[: int(limit)]
        return _json(
            {
                "station_locator_url": "https://afdc.energy.gov/stations/",
                "total_results": len(found),
                "station_counts": {"total": len(found), "fuels": {"ELEC": {"total": len(found)}}},
                "fuel_stations": shown,
            }
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        afdc = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                afdc.requests.append(self.path)
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                key = self.headers.get("X-Api-Key") or query.get("api_key", [None])[0]
                reply = afdc.reply(parts.path, query, key)
                fault = afdc.faults.popleft() if afdc.faults else None
                code, headers, body = fault(reply) if fault else reply
                self.send_response(code)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _json(document: Any) -> Reply:
    headers = {"Content-Type": "application/json", "X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "998"}
    return 200, headers, json.dumps(document).encode()
