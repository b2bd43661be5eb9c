"""The AFDC API: the time of its last update, and all electric stations in one answer.

An answer that differs from the documentation becomes an error of one line, and nothing is published. The key goes into a
header, so that no logged, redirected or reported address has it.
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

from evcharge.log import log
from evcharge.registry.afdc import LEVELS, Record
from evcharge.registry.files import json_records
from evcharge.registry.snapshot import RegistryError
from evcharge.settings import Settings

CONNECT_TIMEOUT_S = 10
# Between two pieces of an answer: the server needs a while before the first byte of the full list.
READ_TIMEOUT_S = 120
# 86,000 stations are about 250 MB of JSON. A connection that needs longer than this will not complete it.
DOWNLOAD_LIMIT_S = 1_800
ATTEMPTS = 4
FIRST_BACKOFF_S = 2.0
# The API's limits apply to a rolling hour: for a longer wait, the next poll tries again.
LONGEST_WAIT_S = 60.0

#: The fields that every station has. If a record lacks one of them, the API's schema has changed.
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


class NoKeyError(RegistryError):
    """There is no API key, so no request was sent."""


class _RetryableError(Exception):
    """A failure that another attempt may not have. Its text becomes the final error's if there is none."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class AfdcClient:
    """The API's client. Every method raises RegistryError, after up to ATTEMPTS attempts where another one may help."""

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._base = settings.afdc_api_url.rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._key = settings.afdc_api_key.get_secret_value()
        self._sleep = sleep
        if not self._key:
            raise NoKeyError("EVCHARGE_AFDC_API_KEY is not set, so AFDC was not polled (a key is free of charge)")

    def last_updated(self) -> str:
        """The time when AFDC last changed a station, as the API's text."""
        document = self._json(f"{self._base}/last-updated.json", {}, None)
        last_updated = document.get("last_updated") if isinstance(document, dict) else None
        if not isinstance(last_updated, str):
            raise RegistryError(f"{self._host}: last-updated.json has no `last_updated`: its schema has changed")
        return last_updated

    def stations(self, copy: Path) -> list[Record]:
        """All electric stations. Writes the original answer to `copy`, gzipped."""
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
            except _RetryableError as error:
                wait_s = backoff_s if error.wait_s is None else error.wait_s
                if attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S:
                    raise RegistryError(f"{self._host}: {error} (attempt {attempt})") from None
                log.info("afdc request is repeated", reason=str(error), attempt=attempt, wait_s=wait_s)
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
                # A followed redirect would send the key to any host that the answer names.
                allow_redirects=False,
                stream=True,
            ) as response:
                self._check(response)
                body = _body(response)
        except requests.exceptions.ChunkedEncodingError:
            raise _RetryableError("the answer broke off") from None
        except requests.RequestException as error:
            raise _RetryableError(f"cannot be reached ({_cause(error)})") from None
        if body.lstrip()[:1] == b"<":
            raise RegistryError(f"{self._host}: an HTML page came where JSON is due; is EVCHARGE_AFDC_API_URL right?")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _RetryableError(f"truncated or damaged JSON of {len(body):,} bytes") from None
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
            raise _RetryableError(f"over its rate limit{_limits(response)}", _wait_s(response))
        if status >= 500:
            raise _RetryableError(f"HTTP {status}")
        if status in (401, 403):
            raise RegistryError(f"{self._host} refuses the key in EVCHARGE_AFDC_API_KEY ({self._error_code(response)})")
        if status == 404:
            raise RegistryError(f"{self._host}: no such API (HTTP 404); is EVCHARGE_AFDC_API_URL right?")
        if status != 200:
            raise RegistryError(f"{self._host}: HTTP {status} ({self._error_code(response)})")

    def _error_code(self, response: requests.Response) -> str:
        """The code of the API's error object. The object's text is not used, because it may repeat the key."""
        try:
            return str(orjson.loads(_body(response))["error"]["code"]).replace(self._key, "…")
        except (ValueError, KeyError, TypeError, requests.RequestException):
            return f"HTTP {response.status_code}"


def _body(response: requests.Response) -> bytes:
    """The whole answer. A timeout between two pieces does not stop an answer that never ends; this limit does."""
    began = time.monotonic()
    pieces = []
    for piece in response.iter_content(1 << 20):
        pieces.append(piece)
        if time.monotonic() - began > DOWNLOAD_LIMIT_S:
            raise requests.Timeout(f"no end after {DOWNLOAD_LIMIT_S} s")
    return b"".join(pieces)


def _wait_s(response: requests.Response) -> float | None:
    """How long the API asks to wait: Retry-After, or an hour if its limit is used up; None if it does not say."""
    retry_after = response.headers.get("Retry-After")
    if retry_after is not None:
        try:
            return max(0.0, float(retry_after))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    return 3600.0 if response.headers.get("X-RateLimit-Remaining") == "0" else None


def _limits(response: requests.Response) -> str:
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After")
    limits = [f"{name}: {response.headers[name]}" for name in names if name in response.headers]
    return f" ({', '.join(limits)})" if limits else ""


def _cause(error: requests.RequestException) -> str:
    """The error below `requests`, whose own texts have three lines."""
    inner: Any = error.args[0] if error.args else error
    return type(getattr(inner, "reason", inner)).__name__ if isinstance(inner, Exception) else type(error).__name__
