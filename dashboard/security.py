"""What a browser may do with the pages, and who may ask for them.

The pages load everything from this server. A request for another host's name is refused, so that no page of another site can
reach the server by a name of its own (DNS rebinding); `TRUSTED_HOSTS` does that.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from evcharge.queries.dashboard import DashboardOptions

#: esbuild's names of files whose name changes with their content.
_HASHED = re.compile(r"-[A-Z0-9]{8}\.[a-z0-9]+$")


def attach(app: Flask, options: DashboardOptions) -> None:
    """Adds the headers to every answer, and refuses what a page of another site sends."""
    headers = _headers(options.tile_url)

    @app.before_request
    def refuse_other_sites() -> None:
        # a link on another site may open a page, but nothing there may hold a stream open
        opens_page = request.headers.get("Sec-Fetch-Mode") == "navigate" and not request.path.startswith("/api/")
        if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not opens_page:
            abort(403, "requests from other sites are refused")

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if is_static() and response.status_code in (200, 304):
            kept = "public, max-age=31536000, immutable" if _HASHED.search(request.path) else "no-cache"
            response.headers["Cache-Control"] = kept
        return response


def is_static() -> bool:
    """Whether the request is for a file of the pages."""
    return request.path.startswith("/static/")


def _headers(tile_url: str) -> dict[str, str]:
    tiles = urlsplit(tile_url)
    origin = f" {tiles.scheme}://{tiles.netloc}" if tile_url else ""
    policy = {
        "default-src": "'self'",
        "img-src": f"'self' data: blob:{origin}",
        "connect-src": f"'self'{origin}",
        # the map's worker
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "geolocation=(self), camera=(), microphone=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
