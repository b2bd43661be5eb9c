"""The guard before Dagster's pages: what a foreign page, a foreign name and a wrong login get."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from evcharge.settings import load_settings
from evcharge_assets.webserver import guards

JSON = {"content-type": "application/json"}
OWN = "127.0.0.1:13000"


def answer(
    method: str, path: str, headers: dict[str, str], *, query: str = "", scope_type: str = "http", **settings: Any
) -> int:
    """The status that a request gets; 200 if the guards let it pass."""

    async def passed(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("passed")

    app = Starlette(
        routes=[Route("/{path:path}", passed, methods=["GET", "POST", "HEAD"])],
        middleware=list(guards(load_settings(**settings))),
    )
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"].endswith("response.start"):
            statuses.append(message["status"])

    scope = {
        "type": scope_type,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in ({"host": OWN} | headers).items()],
        "extensions": {"websocket.http.response": {}},
    }
    asyncio.run(app(scope, receive, send))
    return statuses[0]


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (200, "POST", "/graphql", JSON),
        (200, "POST", "/graphql", JSON | {"origin": f"http://{OWN}", "sec-fetch-site": "same-origin"}),
        (200, "GET", "/graphql", {"accept": "text/html"}),
        (200, "GET", "/runs", {}),
        # a link on another site
        (200, "GET", "/runs", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        (403, "POST", "/graphql", JSON | {"origin": "http://elsewhere.example"}),
        (403, "POST", "/graphql", JSON | {"origin": "null"}),
        # another server on this machine
        (403, "POST", "/graphql", JSON | {"origin": "http://127.0.0.1:8080"}),
        (403, "POST", "/report_asset_materialization/x", {"origin": "http://elsewhere.example"}),
        (403, "GET", "/logs", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        (403, "GET", "/graphql", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        # what a plain form can post
        (415, "POST", "/graphql", {"content-type": "text/plain"}),
        (415, "POST", "/graphql", {"content-type": "application/x-www-form-urlencoded"}),
        (415, "POST", "/graphql", {}),
        # a name that leads to this machine
        (400, "POST", "/graphql", JSON | {"host": "elsewhere.example:13000"}),
        (400, "GET", "/runs", {"host": "127.0.0.1.elsewhere.example"}),
    ],
)
def test_only_own_pages_pass(status: int, method: str, path: str, headers: dict[str, str]) -> None:
    assert answer(method, path, headers) == status


def test_a_query_by_get_is_refused() -> None:
    assert answer("GET", "/graphql", {}, query="query={version}") == 405


def test_a_web_socket_of_a_foreign_page_is_refused() -> None:
    assert answer("GET", "/graphql", {"origin": "http://elsewhere.example"}, scope_type="websocket") == 403


def test_a_login_is_asked_for_if_one_is_set() -> None:
    def login(text: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    settings = {"dagster_user": "data", "dagster_password": "secret"}
    assert answer("GET", "/runs", {}, **settings) == 401
    assert answer("GET", "/runs", login("data:wrong"), **settings) == 401
    assert answer("GET", "/runs", {"authorization": "Basic ?"}, **settings) == 401
    assert answer("GET", "/runs", {"authorization": "Bearer secret"}, **settings) == 401
    assert answer("GET", "/runs", login("data:secret"), **settings) == 200


def test_further_names_can_be_allowed() -> None:
    assert answer("GET", "/runs", {"host": "dagster.example"}, dagster_hosts="dagster.example") == 200
