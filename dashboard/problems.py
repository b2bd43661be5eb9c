"""What a client reads when something is wrong: problem+json (RFC 9457) from the API, a plain page elsewhere.

The reason of an unexpected error is in the log only, with the request's id.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, g, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError

from dashboard import access_log
from evcharge.queries.dashboard import NoSuchThingError, ServerDownError, UserError

#: Seconds after which a page may ask again for what a server did not answer.
RETRY_AFTER_S = 10


def attach(app: APIFlask) -> None:
    """Lets the application answer every error in these forms."""
    # first: it takes the errors of HTTP for itself too
    app.error_processor(_invalid)
    app.register_error_handler(UserError, _bad_question)
    app.register_error_handler(ServerDownError, _server_down)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def describe(spec: dict[str, Any]) -> dict[str, Any]:
    """Adds to a description of the API that every question may be answered by a problem."""
    components = spec.setdefault("components", {}).setdefault("schemas", {})
    fields = {"type": "string", "title": "string", "status": "integer", "detail": "string"}
    components["Problem"] = {
        "type": "object",
        "title": "Problem",
        "required": list(fields),
        "properties": {name: {"type": kind} for name, kind in fields.items()},
    }
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in spec["paths"].values():
        for operation in path.values():
            operation["responses"]["default"] = {"description": "what is wrong", "content": content}
    return spec


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """The answer to a request that cannot be served; `detail` becomes one line."""
    title, detail = HTTPStatus(status).phrase, " ".join(detail.split())
    if request.path.startswith("/api/"):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        response = Response(orjson.dumps(body), status, mimetype="application/problem+json")
    else:
        page = render_template("error.html", page="error", title=title, detail=detail)
        response = Response(page, status, mimetype="text/html")
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(headers or {})
    return response


def _bad_question(error: UserError) -> Response:
    status = HTTPStatus.NOT_FOUND if isinstance(error, NoSuchThingError) else HTTPStatus.UNPROCESSABLE_ENTITY
    return problem(status, str(error))


def _server_down(error: ServerDownError) -> Response:
    # its text has an address and a path of this machine
    access_log.write("server down", request_id=g.request_id, reason=str(error))
    server = error.service or "a server of the platform"
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{server} does not answer", {"Retry-After": str(RETRY_AFTER_S)})


def _http_error(error: HTTPException) -> Response:
    kept = ("Allow", "Retry-After", "Location")
    headers = {name: value for name, value in error.get_headers() if name in kept}
    code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, SecurityError):
        return problem(code, "this server does not answer for that host; EVCHARGE_DASHBOARD_HOSTS has its names")
    if code == HTTPStatus.NOT_FOUND:
        return problem(code, "there is nothing at this address")
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return problem(code, "too many requests from this address; wait a minute", {"Retry-After": "60"} | headers)
    if code < HTTPStatus.BAD_REQUEST:
        return Response(status=code, headers=headers)
    return problem(code, error.description or HTTPStatus(code).phrase, headers)


def _invalid(error: HTTPError) -> Response:
    """Of a question whose parameters do not fit: which ones and why."""
    fields = [
        f"{name}: {'; '.join(texts)}"
        for place in (error.detail or {}).values()
        for name, texts in (place.items() if isinstance(place, dict) else ())
    ]
    return problem(error.status_code, ", ".join(fields) or error.message or "the question cannot be read")


def _unexpected(error: Exception) -> Response:
    access_log.write("unexpected error", error, request_id=g.request_id)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the dashboard failed at this; its log says why")
