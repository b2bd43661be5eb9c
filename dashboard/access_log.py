"""The log: one JSON object a line. It has routes instead of addresses, so nothing that a client sent can begin a line."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import traceback
from datetime import UTC, datetime

from flask import Flask, Response, g, request

#: Of an address that no route knows, so much is logged.
_UNKNOWN_CHARACTERS = 100


def attach(app: Flask) -> None:
    """Gives each request an id and logs it when its answer begins."""
    # it writes a traceback for each attempt, and raises the same as an error
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    app.before_request(_begin)
    app.after_request(_log)


def write(event: str, error: BaseException | None = None, **fields: object) -> None:
    """Writes a line, with the traceback of `error`."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    more = {} if error is None else {"traceback": "".join(traceback.format_exception(error))}
    # ascii: no character steers the terminal that shows the log
    sys.stdout.write(json.dumps({"at": at, "event": event, **fields, **more}, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def _begin() -> None:
    g.request_id = secrets.token_hex(6)
    g.began_s = time.monotonic()


def _log(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else request.path[:_UNKNOWN_CHARACTERS]
    write(
        "request",
        request_id=g.request_id,
        method=request.method,
        route=route,
        status=response.status_code,
        ms=round((time.monotonic() - g.began_s) * 1000, 1),
        address=request.remote_addr,
    )
    return response
