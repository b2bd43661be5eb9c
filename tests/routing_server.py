"""A small HTTP server in a routing engine's place."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np

from evcharge.trips.roads import great_circle_km


def encoded(points: list[tuple[float, float]]) -> str:
    """An encoded polyline of precision 6."""
    text, last = "", (0, 0)
    for latitude, longitude in points:
        now = (round(latitude * 1e6), round(longitude * 1e6))
        for value in (now[0] - last[0], now[1] - last[1]):
            bits = ~(value << 1) if value < 0 else value << 1
            while bits >= 0x20:
                text += chr((0x20 | (bits & 0x1F)) + 63)
                bits >>= 5
            text += chr(bits + 63)
        last = now
    return text


@contextmanager
def engine_at(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers by path and body, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: Any) -> None:
            asked.append(self.path)
            status, document = answer(self.path, body)
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def osrm_at_80_kmh(path: str, _: Any) -> tuple[int, Any]:
    """OSRM's answer: straight ways of 1.2 times the great circle between the places, at 80 km/h."""
    places = [tuple(map(float, place.split(","))) for place in path.partition("?")[0].rpartition("/")[2].split(";")]
    points: list[tuple[float, float]] = []
    legs = []
    for (longitude, latitude), (to_longitude, to_latitude) in pairwise(places):
        straight_km = float(great_circle_km(latitude, longitude, to_latitude, to_longitude))
        parts = [
            (float(y), float(x))
            for y, x in zip(
                np.linspace(latitude, to_latitude, 51), np.linspace(longitude, to_longitude, 51), strict=True
            )
        ]
        points += parts if not points else parts[1:]
        meters = straight_km * 1_200 / 50
        legs.append({"annotation": {"distance": [meters] * 50, "duration": [meters / 80_000 * 3_600] * 50}})
    return 200, {"code": "Ok", "routes": [{"geometry": encoded(points), "legs": legs}]}
