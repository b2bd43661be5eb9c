"""What the servers' probes have in common."""

from __future__ import annotations

import urllib.error
import urllib.request

from evcharge.connections import basic_login

#: How long one probe may take. A server that is busy starting is probed again.
PROBE_TIMEOUT_S = 5.0


class NotHealthy(Exception):
    """The server answers, but it is not healthy."""


def http_get(url: str, login: tuple[str, str] | None = None) -> str:
    """The body of `url`, read with a user and password if `login` is given. Raises URLError, HTTPError."""
    # not requests: its import alone takes 0.36 s of processor time
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", basic_login(*login))
    with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as response:
        return str(response.read().decode())


def explain(error: BaseException) -> str:
    """One line for the exception of a probe."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    text = str(error).strip().splitlines()
    if not text:
        return repr(error)
    return text[0] if isinstance(error, NotHealthy) else f"{type(error).__name__}: {text[0]}"
