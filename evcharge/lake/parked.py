"""Attempts at a range, as Dagster's runs show them: which ones count, and which range is parked.

The planning sensor and `evcharge lake release` decide by the same facts. The branches that attempts left prove nothing: a
server that is down fails a healthy range as often as it is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evcharge.dagster_api import graphql
from evcharge.errors import UserError
from evcharge.lake.ledger import OffsetRange, RangePosition, read_ledger
from evcharge.lake.repository import Repository
from evcharge.settings import Settings

#: The Dagster job that publishes what waits on all topics. A range that failed in it is repeated by its topic's own job.
PUBLISH_JOB = "publish_waiting"
#: Tags of a run that publishes: the hash of the planned range that it is at, or was at last, and the range's topic.
RANGE_TAG, TOPIC_TAG = "evcharge/range", "evcharge/topic"
#: Tag of a run that failed because a server was down. Such a run does not count among the attempts at its range.
SERVER_DOWN_TAG = "evcharge/server_down"

#: Of a topic's runs, the newest ones that are searched for the last planned range.
_RUNS_SEARCHED = 50
#: A range is parked after a few attempts. An outage may add runs without end, of which the newest are read.
_RUNS_COUNTED = 500

_RUNS = """
query ($filter: RunsFilter!, $limit: Int!) {
  runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { runConfig tags { key value } } }
    ... on PythonError { message }
  }
}"""


def publish_job_name(topic: str) -> str:
    """The Dagster job that publishes one topic."""
    return f"publish_{topic.replace('-', '_')}"


def counts_as_attempt(tags: Mapping[str, str]) -> bool:
    """Whether a failed run with these tags counts among the attempts at its range."""
    return SERVER_DOWN_TAG not in tags


def range_of(run_config: Mapping[str, Any]) -> OffsetRange:
    """The range in the configuration of a run that repeats a planned range."""
    (op,) = run_config["ops"].values()
    return OffsetRange.from_json(op["config"]["offset_range"])


def ranges_of(run_config: Mapping[str, Any]) -> list[OffsetRange]:
    """The ranges in the configuration of a run of PUBLISH_JOB; none if it was launched by hand."""
    config = run_config.get("ops", {}).get("publish", {}).get("config", {})
    return [OffsetRange.from_json(planned) for planned in config.get("ranges", ())]


@dataclass(frozen=True, slots=True)
class Attempts:
    """The last planned range of a topic, if it is still the next one: its failed attempts, and its runs in an outage."""

    planned: OffsetRange
    failed: int
    server_down: int


def failed_attempts(settings: Settings, repository: Repository, topic: str) -> Attempts | None:
    """The failed attempts at the next range; None if no run has tried it.

    Raises ServerDownError if Dagster's webserver or lakeFS does not answer.
    """
    runs = _runs(settings, {"pipelineName": publish_job_name(topic)}, _RUNS_SEARCHED)
    config = next((run["runConfig"] for run in runs if RANGE_TAG in run["tags"]), None)
    planned = range_of(config) if config else None
    if planned is None or read_ledger(repository, topic).position_of(planned) is not RangePosition.NEXT:
        return None
    found = _runs(
        settings,
        {
            "pipelineName": publish_job_name(topic),
            "statuses": ["FAILURE", "CANCELED"],
            "tags": [{"key": RANGE_TAG, "value": planned.hash}],
        },
        _RUNS_COUNTED,
    )
    failed = sum(counts_as_attempt(run["tags"]) for run in found)
    return Attempts(planned, failed, len(found) - failed)


def parked_range(settings: Settings, repository: Repository, topic: str) -> OffsetRange:
    """The range that its topic's sensor has parked. Raises UserError if none is, ServerDownError."""
    attempts = failed_attempts(settings, repository, topic)
    failed, outages = (attempts.failed, attempts.server_down) if attempts else (0, 0)
    if attempts is None or failed < settings.publish_attempts:
        raise UserError(
            f"{topic}: no range is parked. The next one failed {failed} of {settings.publish_attempts} times"
            + (f", and {outages} runs met a server that was down, which says nothing about its rows" if outages else "")
            + "; --force releases the rows that wait all the same"
        )
    return attempts.planned


def _runs(settings: Settings, runs_filter: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """The newest runs that the filter selects, newest first, with their tags as a dict."""
    answer = graphql(settings, _RUNS, {"filter": runs_filter, "limit": limit})["runsOrError"]
    if answer["__typename"] != "Runs":
        raise UserError(f"Dagster does not list the runs: {answer.get('message', answer['__typename'])}")
    return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in answer["results"]]
