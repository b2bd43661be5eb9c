"""Dagster's webserver behind a guard. `python -m evcharge_assets.webserver` takes the options of `dagster-webserver`.

Dagster answers whoever reaches its port, and a page of any site that is open in a browser on this machine reaches it. So the
guard lets in only requests to this machine's own name, from its own pages, and asks for a login if one is set.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence

from dagster_webserver import app as dagster_app
from dagster_webserver.cli import cli
from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from evcharge.settings import Settings, load_settings

GRAPHQL_PATH = "/graphql"


class OwnPagesOnly:
    """ASGI middleware: refuses what a page of another site can make a browser send.

    A browser sends `Origin` with every request that a script makes to another site, with forms that are posted and with
    web sockets (RFC 6454; Fetch standard), and `Sec-Fetch-Site` with all others. A query by GET is refused, because an image's
    address is enough to send it; so is one that is not JSON, because a plain form can post it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            status, reason = refusal
            await PlainTextResponse(reason, status)(scope, receive, send)


class Login:
    """ASGI middleware: HTTP basic authentication (RFC 7617) as the one user."""

    def __init__(self, app: ASGIApp, user: str, password: str) -> None:
        self.app = app
        self.expected = f"{user}:{password}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._knows(Headers(scope=scope).get("authorization", "")):
            await self.app(scope, receive, send)
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="EVCharge", charset="UTF-8"'}
            await PlainTextResponse("a login is needed", 401, challenge)(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return False
        return secrets.compare_digest(given, self.expected)


def guards(settings: Settings) -> Sequence[Middleware]:
    """The guards of Dagster's pages, the first one outermost."""
    hosts = [host.strip() for host in settings.dagster_hosts.split(",") if host.strip()]
    found = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False), Middleware(OwnPagesOnly)]
    password = settings.dagster_password.get_secret_value()
    if password:
        found.append(Middleware(Login, user=settings.dagster_user, password=password))
    return found


class GuardedWebserver(DagsterWebserver):
    """Dagster's webserver with our guards before its own middleware."""

    def build_middleware(self) -> list[Middleware]:
        return [*guards(load_settings()), *super().build_middleware()]


def _refusal(scope: Scope) -> tuple[int, str] | None:
    """Status and reason if the request must be refused; None if it may pass."""
    headers = Headers(scope=scope)
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return 403, f"requests from {origin} are refused"
    is_graphql = scope["path"].rstrip("/").endswith(GRAPHQL_PATH)
    method = scope.get("method", "GET")
    # a link on another site may open a page, but nothing else there may fetch anything
    opens_page = headers.get("sec-fetch-mode") == "navigate" and method == "GET" and not is_graphql
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not opens_page:
        return 403, "requests from other sites are refused"
    if is_graphql and scope["type"] == "http":
        if method == "GET" and scope.get("query_string"):
            return 405, "send the query by POST"
        if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "send the query as application/json"
    return None


def main() -> None:
    # Dagster's command has no option for middleware: it makes the webserver of this class
    dagster_app.DagsterWebserver = GuardedWebserver  # type: ignore[misc]
    cli(auto_envvar_prefix="DAGSTER_WEBSERVER", prog_name="dagster-webserver")


if __name__ == "__main__":
    main()
