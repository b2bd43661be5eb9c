"""How the platform is: how current each feed is, which stores answer, what was merged, loaded and parked, the disk.

Each part is found by itself, beside the others and within `PATIENCE_S`. A store that is down says so and hides nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from elasticsearch import Elasticsearch

from evcharge.coming import read_coming
from evcharge.connections import require_listener
from evcharge.contracts import CONTRACTS, SESSION_EVENTS, STATION_REGISTRY, VEHICLE_TELEMETRY
from evcharge.dagster_api import graphql
from evcharge.disk import reserve_bytes
from evcharge.live.indices import STATION_STATE, VEHICLE_POSITION
from evcharge.live.stream_status import QueryStatus, read_statuses
from evcharge.queries.freshness import utc_text
from evcharge.queries.network_facts import warehouse
from evcharge.settings import Settings

#: A part that is not known after this is left out.
PATIENCE_S = 2.5
#: A part is found anew after this at the earliest, however many pages are open.
KEPT_S = 2.0
#: A part that takes longer than `PATIENCE_S` is shown as it was last found, for so long.
SHOWN_S = 30.0
#: Files are counted this often, and for so long.
DISK_KEPT_S, DISK_COUNTED_S = 300.0, 1.0
#: A feed whose state is older than this is behind.
CURRENT_WITHIN_S = 30.0
#: Publications that are looked through for days that are not loaded yet.
_LAST_PUBLICATIONS = 30
_RUNS_SEARCHED = 50

#: By query of the stream: the feed as people call it, and its topic.
FEEDS = {
    "registry": ("Station registry", STATION_REGISTRY.topic),
    "stations": ("Charging sessions", SESSION_EVENTS.topic),
    "vehicles": ("Connected cars", VEHICLE_TELEMETRY.topic),
    "journal": ("Journal of events", SESSION_EVENTS.topic),
}


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The parts of the status page, as JSON has them."""

    now: datetime
    feeds: list[dict[str, Any]]
    stores: list[dict[str, Any]]
    lake: dict[str, Any]
    warehouse: dict[str, Any]
    disk: dict[str, Any]
    coming: list[dict[str, str]]
    links: list[dict[str, str]]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "now": utc_text(self.now),
            "feeds": self.feeds,
            "stores": self.stores,
            "lake": self.lake,
            "warehouse": self.warehouse,
            "disk": self.disk,
            "coming": self.coming,
            "links": self.links,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Publication:
    """What Dagster knows of a merge into the lake's main branch."""

    topic: str
    merged_at: datetime
    commit: str | None
    ends: Mapping[str, int]
    event_dates: tuple[str, ...]
    quarantined: int


@dataclass(slots=True)
class StatusReader:
    """Finds the parts. Any number of threads may ask; each part is looked for once at a time."""

    settings: Settings
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "status"))
    _parts: dict[str, _Part] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(self, client: Elasticsearch, cassandra_answers: Callable[[], object], now: datetime) -> StatusAnswer:
        """The answer. `cassandra_answers` raises if Cassandra does not answer."""
        settings = self.settings
        quick = client.options(request_timeout=PATIENCE_S, max_retries=0)
        stores: dict[str, Callable[[], str]] = {
            "Elasticsearch": lambda: f"{quick.count(index=STATION_STATE)['count']:,} stations",
            "Cassandra": lambda: str(cassandra_answers() or ""),
            "ClickHouse": lambda: _http(f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}/ping"),
            "Kafka": lambda: _listens(settings.kafka_bootstrap_servers.split(",")[0]),
            "lakeFS": lambda: _http(f"{settings.lakefs_endpoint}/_health"),
            "MinIO": lambda: _http(f"{settings.minio_endpoint}/minio/health/live"),
            "MongoDB": lambda: _listens(settings.mongodb_host),
            "Spark": lambda: _listens(urlsplit(settings.spark_remote).netloc),
            "Dagster": lambda: _http(f"{dagster_url(settings)}/server_info"),
        }
        if settings.profile == "small":
            for name in ("Elasticsearch", "Cassandra", "MongoDB"):
                if not settings.is_external(name.lower()):
                    del stores[name]
        begun = time.monotonic()
        asked = {name: self._ask(name, call) for name, call in stores.items()}
        statuses = self._ask("statuses", lambda: read_statuses(quick))
        newest = self._ask("newest", lambda: _newest_events(quick))
        published = self._ask("published", lambda: _publications(settings))
        parked = self._ask("parked", lambda: _parked(settings))
        loaded = self._ask("loaded", lambda: _loaded(settings))
        disk = self._ask("disk", lambda: _home_bytes(settings.home), DISK_KEPT_S)

        def found(part: _Part) -> Any:
            """What was found, or the exception that says why it was not."""
            return part.outcome(max(PATIENCE_S - (time.monotonic() - begun), 0.0))

        known = found(statuses)
        feeds = [] if isinstance(known, Exception) else _feeds(known, found(newest), now)
        publications, loads = found(published), found(loaded)
        return StatusAnswer(
            now,
            feeds,
            [_store(name, found(part), now) for name, part in asked.items()],
            _lake(publications, found(parked), known),
            _warehouse(publications, loads),
            _disk(settings, found(disk)),
            [part.to_json() for part in read_coming(settings)],
            _links(settings),
            None if feeds else "how current the feeds are is not known: Elasticsearch has not said",
        )

    def _ask(self, name: str, call: Callable[[], Any], kept_s: float = KEPT_S) -> _Part:
        with self._lock:
            before = self._parts.get(name)
            now = time.monotonic()
            if before is not None and (not before.future.done() or now - before.asked_at <= kept_s):
                return before
            self._parts[name] = part = _Part(self._pool.submit(call), now, before.last() if before else None)
            return part


@dataclass(slots=True)
class _Part:
    """A part that is looked for, and what was found before."""

    future: Future[Any]
    asked_at: float
    before: tuple[float, Any] | None

    def outcome(self, within_s: float) -> Any:
        """What was found, or the exception that says why it was not."""
        try:
            return self.future.result(within_s)
        except StillRunning:
            if self.before is not None and time.monotonic() - self.before[0] < SHOWN_S:
                return self.before[1]
            return TimeoutError(f"no answer within {PATIENCE_S:g} s")
        except Exception as error:
            return error

    def last(self) -> tuple[float, Any]:
        """When and what was found; the future is done."""
        return self.asked_at, self.outcome(0.0)


def dagster_url(settings: Settings) -> str:
    """The address of Dagster's pages."""
    return f"http://127.0.0.1:{settings.dagster_port}"


# --- feeds and stores ---


def _feeds(statuses: list[QueryStatus], newest: Any, now: datetime) -> list[dict[str, Any]]:
    newest = {} if isinstance(newest, Exception) else newest
    found = []
    for status in statuses:
        if status.query not in FEEDS:
            continue
        name, topic = FEEDS[status.query]
        age_s = status.age_s(now)
        if status.failing_since:
            state = "failing"
        elif age_s is None:
            state = "unknown"
        else:
            state = "current" if age_s <= CURRENT_WITHIN_S else "behind"
        found.append(
            {
                "name": name,
                "topic": topic,
                "last_at": newest.get(status.query),
                "as_of": status.as_of,
                "age_s": None if age_s is None else round(max(age_s, 0.0), 1),
                "lag": status.lag_rows,
                "state": state,
                "detail": status.failing_reason,
            }
        )
    return found


def _newest_events(client: Elasticsearch) -> dict[str, str | None]:
    """When the newest event and the newest position happened, by query of the stream."""
    found: dict[str, str | None] = {}
    for query, index, name in (
        ("stations", STATION_STATE, "last_event_at"),
        ("vehicles", VEHICLE_POSITION, "occurred_at"),
    ):
        answer = client.search(
            index=index,
            aggs={"newest": {"max": {"field": name}}},
            size=0,
            track_total_hits=False,
            ignore_unavailable=True,
        )
        newest = answer.get("aggregations", {}).get("newest", {}).get("value")
        found[query] = None if newest is None else utc_text(datetime.fromtimestamp(newest / 1000, UTC))
    return found


def _store(name: str, found: Any, now: datetime) -> dict[str, Any]:
    is_up = not isinstance(found, Exception)
    detail = found if is_up else (str(found).splitlines() or [type(found).__name__])[0][:300]
    return {"name": name, "state": "up" if is_up else "down", "detail": detail or None, "as_of": utc_text(now)}


def _http(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S):
        return ""


def _listens(address: str) -> str:
    require_listener(address.partition("/")[0], PATIENCE_S)
    return ""


# --- lake and warehouse ---


_PUBLISHED = """
query ($keys: [AssetKeyInput!]!, $limit: Int!) {
  assetNodes(assetKeys: $keys) {
    assetKey { path }
    assetMaterializations(limit: $limit) {
      timestamp
      metadataEntries {
        label
        ... on IntMetadataEntry { intValue }
        ... on TextMetadataEntry { text }
        ... on JsonMetadataEntry { jsonString }
      }
    }
  }
}"""

_RUNS_OF = """
  {alias}: runsOrError(filter: {{pipelineName: "{job}"}}, limit: {limit}) {{
    ... on Runs {{ results {{ runId status startTime tags {{ key value }} }} }}
  }}"""


def _publications(settings: Settings) -> list[Publication]:
    """The last merges of each topic, from the archive assets in Dagster, the newest first."""
    keys = {contract.topic.replace("-", "_"): contract.topic for contract in CONTRACTS.values()}
    answer = graphql(
        settings,
        _PUBLISHED,
        {"keys": [{"path": ["lake", key]} for key in keys], "limit": _LAST_PUBLICATIONS},
        timeout_s=PATIENCE_S,
    )
    found = []
    for node in answer["assetNodes"]:
        for merged in node["assetMaterializations"]:
            entries = {entry["label"]: entry for entry in merged["metadataEntries"]}
            ranges = json.loads(entries.get("offsets", {}).get("jsonString") or "[]")
            found.append(
                Publication(
                    keys[node["assetKey"]["path"][-1]],
                    datetime.fromtimestamp(float(merged["timestamp"]) / 1000, UTC),
                    entries.get("lake_commit", {}).get("text"),
                    {part: max(one["end"].get(part, 0) for one in ranges) for one in ranges for part in one["end"]},
                    tuple(json.loads(entries.get("event_dates", {}).get("jsonString") or "[]")),
                    entries.get("rows_quarantined", {}).get("intValue") or 0,
                )
            )
    return sorted(found, key=lambda one: one.merged_at, reverse=True)


def _parked(settings: Settings) -> list[dict[str, Any]]:
    """The range of each topic whose last attempt failed as often as a range is tried."""
    from evcharge.lake.parked import RANGE_TAG, counts_as_attempt, publish_job_name

    topics = {f"topic_{number}": contract.topic for number, contract in enumerate(CONTRACTS.values())}
    queries = (
        _RUNS_OF.format(alias=alias, job=publish_job_name(topic), limit=_RUNS_SEARCHED)
        for alias, topic in topics.items()
    )
    answer = graphql(settings, f"query {{{''.join(queries)}\n}}", timeout_s=PATIENCE_S)
    found = []
    for alias, topic in topics.items():
        runs = answer[alias].get("results", [])
        tagged = [(run, {tag["key"]: tag["value"] for tag in run["tags"]}) for run in runs]
        last = next(((run, tags) for run, tags in tagged if RANGE_TAG in tags), None)
        if last is None:
            continue
        own = [(run, tags) for run, tags in tagged if tags.get(RANGE_TAG) == last[1][RANGE_TAG]]
        failed = [run for run, tags in own if run["status"] in ("FAILURE", "CANCELED") and counts_as_attempt(tags)]
        if len(failed) >= settings.publish_attempts and not any(run["status"] == "SUCCESS" for run, _ in own):
            at = failed[0]["startTime"]
            found.append(
                {
                    "topic": topic,
                    "range": last[1][RANGE_TAG],
                    "attempts": len(failed),
                    "parked_at": utc_text(datetime.fromtimestamp(at, UTC)) if at else None,
                    "url": f"{dagster_url(settings)}/runs/{failed[0]['runId']}",
                    "command": f"evcharge lake release {topic}",
                }
            )
    return found


def _lake(publications: Any, parked: Any, statuses: Any) -> dict[str, Any]:
    notes = ["read from Dagster's record of the merges"]
    if isinstance(publications, Exception):
        notes = [f"when the lake was last merged into is not known: {_first_line(publications)}"]
        publications = []
    if isinstance(parked, Exception):
        notes.append(f"which ranges are parked is not known: {_first_line(parked)}")
        parked = []
    last = publications[0] if publications else None
    by_topic: dict[str, Publication] = {}
    for one in publications:
        by_topic.setdefault(one.topic, one)
    merged_at = {topic: utc_text(one.merged_at) for topic, one in by_topic.items()}
    # a range that was released, or whose fault is repaired, has no run of its own that says so: the next merge says it
    parked = [one for one in parked if merged_at.get(one["topic"], "") <= (one["parked_at"] or "")]
    waiting = None
    if publications and not isinstance(statuses, Exception):
        ends = {FEEDS[s.query][1]: s.log_end for s in statuses if s.query in FEEDS and s.log_end is not None}
        published = {topic: sum(one.ends.values()) for topic, one in by_topic.items()}
        waiting = sum(max(end - published.get(topic, 0), 0) for topic, end in ends.items()) if ends else None
    return {
        "last_merge_at": last and utc_text(last.merged_at),
        "commit": last and last.commit,
        "unpublished_rows": waiting,
        "quarantined_rows": sum(one.quarantined for one in publications) if publications else None,
        "parked": parked,
        "topics": [
            {"topic": topic, "last_merge_at": merged_at[topic], "commit": one.commit}
            for topic, one in sorted(by_topic.items())
        ],
        "note": "; ".join(notes),
    }


def _loaded(settings: Settings) -> dict[date, datetime]:
    """When each day of sessions was last loaded."""
    with warehouse(settings) as client:
        rows = client.execute(
            "SELECT date, max(loaded_at) FROM loaded_day WHERE table_name = 'fact_charging_sessions' GROUP BY date"
        )
    return dict(rows)


def _warehouse(publications: Any, loaded: Any) -> dict[str, Any]:
    """The last loaded day, and the days of the last publications that were not loaded since."""
    if isinstance(loaded, Exception):
        return {
            "last_loaded_day": None,
            "last_loaded_at": None,
            "pending_days": None,
            "note": f"which days are loaded is not known: {_first_line(loaded)}",
        }
    pending = None
    if not isinstance(publications, Exception):
        touched: dict[date, datetime] = {}
        for one in publications:
            if one.topic == SESSION_EVENTS.topic:
                for day in map(date.fromisoformat, one.event_dates):
                    touched[day] = max(touched.get(day, one.merged_at), one.merged_at)
        never = datetime.fromtimestamp(0, UTC)
        pending = [day.isoformat() for day, at in sorted(touched.items()) if loaded.get(day, never) < at]
    newest = max(loaded.values(), default=None)
    return {
        "last_loaded_day": max(loaded).isoformat() if loaded else None,
        "last_loaded_at": newest and utc_text(newest),
        "pending_days": pending,
        "note": f"of the days that the last {_LAST_PUBLICATIONS} publications touched" if pending is not None else None,
    }


# --- the machine ---


def _disk(settings: Settings, home_bytes: Any) -> dict[str, Any]:
    usage = shutil.disk_usage(settings.home)
    return {
        "free_bytes": usage.free,
        "total_bytes": usage.total,
        "reserve_bytes": reserve_bytes(settings),
        "home_bytes": None if isinstance(home_bytes, Exception) else home_bytes,
    }


def _home_bytes(home: Path) -> int | None:
    """What the home's files take; None if counting them takes longer than `DISK_COUNTED_S`."""
    begun, total, folders = time.monotonic(), 0, [os.fspath(home)]
    while folders:
        if time.monotonic() - begun > DISK_COUNTED_S:
            return None
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:  # a server has removed it meanwhile, or keeps it to itself
            continue
    return total


def _links(settings: Settings) -> list[dict[str, str]]:
    url = dagster_url(settings)
    pages = (("Assets and their lineage", "asset-groups"), ("Runs", "runs"), ("Sensors and schedules", "automation"))
    return [{"title": title, "url": f"{url}/{path}"} for title, path in pages]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
