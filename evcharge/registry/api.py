"""The AFDC API: when it was last updated, and all electric stations at once.

Whatever it answers other than what is documented becomes an error of one line, and nothing is published. The key goes
in a header, so that no address that is logged, redirected or reported has it.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson
import requests
import structlog

from evcharge.registry.afdc import LEVELS, Record
from evcharge.registry.files import json_records
from evcharge.registry.snapshot import RegistryError
from evcharge.settings import Settings

CONNECT_TIMEOUT_S = 10
# Between two pieces of an answer: the full list takes the server a while before the first byte.
READ_TIMEOUT_S = 120
# 86,000 stations are some 250 MB of JSON; a connection that needs longer than this is not going to make it.
DOWNLOAD_LIMIT_S = 1_800
ATTEMPTS = 4
FIRST_BACKOFF_S = 2.0
# The API's limits are those of a rolling hour: a longer wait is left to the next poll.
LONGEST_WAIT_S = 60.0

#: What a station is made of. A record without one of these fields is of another schema, not of another station.
NEEDED = (
    "id",
    "fuel_type_code",
    "station_name",
    "city",
    "state",
    "zip",
    "country",
    "latitude",
    "longitude",
    "status_code",
    "ev_network",
    "ev_connector_types",
    *LEVELS,
    "updated_at",
)

log = structlog.get_logger()


class NoKeyError(RegistryError):
    """There is no API key, so nothing was asked."""


class _Again(Exception):
    """An answer that may be better next time, as the error that it becomes if it is not."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class AfdcClient:
    """Asks the API. Every method raises RegistryError, after a bounded number of attempts where another one may help."""

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._base = settings.afdc_api_url.rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._key = settings.afdc_api_key.get_secret_value()
        self._sleep = sleep
        if not self._key:
            raise NoKeyError("EVCHARGE_AFDC_API_KEY is not set, so AFDC was not asked (a key is free of charge)")

    def last_updated(self) -> str:
        """When AFDC last changed any station, in its own words."""
        document = self._json(f"{self._base}/last-updated.json", {}, None)
        told = document.get("last_updated") if isinstance(document, dict) else None
        if not isinstance(told, str):
            raise RegistryError(f"{self._host}: last-updated.json has no `last_updated`: its schema has changed")
        return told

    def stations(self, copy: Path) -> list[Record]:
        """All electric stations; the answer as it came is left in `copy`, gzipped."""
        parameters = {"fuel_type": "ELEC", "limit": "all"}
        document = self._json(f"{self._base}.json", parameters, copy)
        try:
            records = json_records(document)
        except RegistryError as error:
            raise RegistryError(f"{self._host}: {error}: its schema has changed") from None
        total = document.get("total_results")
        if total != len(records):
            raise RegistryError(f"{self._host}: total_results is {total}, but {len(records):,} stations came")
        for record in records:
            for name in NEEDED:
                if name not in record:
                    raise RegistryError(
                        f"{self._host}: station {record.get('id')} has no `{name}`: its schema has changed"
                    )
        return records

    def _json(self, url: str, parameters: dict[str, str], copy: Path | None) -> Any:
        backoff_s = FIRST_BACKOFF_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(url, parameters, copy)
            except _Again as again:
                wait_s = backoff_s if again.wait_s is None else again.wait_s
                if attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S:
                    raise RegistryError(f"{self._host}: {again} (attempt {attempt})") from None
                log.info("afdc is asked again", reason=str(again), attempt=attempt, wait_s=wait_s)
                self._sleep(wait_s)
                backoff_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _once(self, url: str, parameters: dict[str, str], copy: Path | None) -> Any:
        try:
            with requests.get(
                url,
                params=parameters,
                headers={"X-Api-Key": self._key, "Accept": "application/json"},
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                # followed, the key would go to whichever host is named
                allow_redirects=False,
                stream=True,
            ) as response:
                self._check(response)
                body = _body(response)
        except requests.exceptions.ChunkedEncodingError:
            raise _Again("the answer broke off") from None
        except requests.RequestException as error:
            raise _Again(f"can not be reached ({_cause(error)})") from None
        if body.lstrip()[:1] == b"<":
            raise RegistryError(f"{self._host}: an HTML page came where JSON is due; is EVCHARGE_AFDC_API_URL right?")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _Again(f"truncated or damaged JSON of {len(body):,} bytes") from None
        if copy is not None:
            copy.write_bytes(gzip.compress(body, compresslevel=1))
        return document

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if response.is_redirect or response.is_permanent_redirect:
            to = urlsplit(urljoin(response.url, response.headers["Location"]))
            raise RegistryError(
                f"{self._host} has moved to {to.scheme}://{to.netloc}{to.path}: set EVCHARGE_AFDC_API_URL to the new address"
            )
        if status == 429:
            raise _Again(f"over its rate limit{_limits(response)}", _wait_s(response))
        if status >= 500:
            raise _Again(f"HTTP {status}")
        if status in (401, 403):
            raise RegistryError(f"{self._host} refuses the key in EVCHARGE_AFDC_API_KEY ({self._error_code(response)})")
        if status == 404:
            raise RegistryError(f"{self._host}: no such API (HTTP 404); is EVCHARGE_AFDC_API_URL right?")
        if status != 200:
            raise RegistryError(f"{self._host}: HTTP {status} ({self._error_code(response)})")

    def _error_code(self, response: requests.Response) -> str:
        """The code of the API's error object; never its text, which may repeat the key."""
        try:
            return str(orjson.loads(_body(response))["error"]["code"]).replace(self._key, "…")
        except (ValueError, KeyError, TypeError, requests.RequestException):
            return f"HTTP {response.status_code}"


def _body(response: requests.Response) -> bytes:
    """The whole answer; a read that never ends is given up, which a timeout between two pieces does not see."""
    began = time.monotonic()
    pieces = []
    for piece in response.iter_content(1 << 20):
        pieces.append(piece)
        if time.monotonic() - began > DOWNLOAD_LIMIT_S:
            raise requests.Timeout(f"no end after {DOWNLOAD_LIMIT_S} s")
    return b"".join(pieces)


def _wait_s(response: requests.Response) -> float | None:
    """How long the API asks to wait: Retry-After, or the hour of its limits if nothing remains of it; else None."""
    told = response.headers.get("Retry-After")
    if told is not None:
        try:
            return max(0.0, float(told))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    return 3600.0 if response.headers.get("X-RateLimit-Remaining") == "0" else None


def _limits(response: requests.Response) -> str:
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After")
    told = [f"{name}: {response.headers[name]}" for name in names if name in response.headers]
    return f" ({', '.join(told)})" if told else ""


def _cause(error: requests.RequestException) -> str:
    """What went wrong below requests, whose own texts run over three lines."""
    inner: Any = error.args[0] if error.args else error
    return type(getattr(inner, "reason", inner)).__name__ if isinstance(inner, Exception) else type(error).__name__
