"""Launches and watches Dagster runs over the webserver's GraphQL API. The library does not import Dagster."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from evcharge.connections import REQUEST_TIMEOUT_S, basic_login, server_down
from evcharge.errors import UserError
from evcharge.settings import Settings

_SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "evcharge"}

_LAUNCH = """
mutation ($job: JobOrPipelineSelector!, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {selector: $job, mode: "default", executionMetadata: {tags: $tags}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""

_STATUS = "query ($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"

_RUNS = """query ($job: String!) { runsOrError(filter: {pipelineName: $job, statuses: [QUEUED, NOT_STARTED, STARTING,
  STARTED, SUCCESS]}, limit: 1) { ... on Runs { results { runId } } } }"""

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


def launch_job(settings: Settings, job: str) -> str:
    """Launches a job and returns the run's id. Raises ServerDownError; UserError if Dagster refuses."""
    answer = graphql(settings, _LAUNCH, {"job": {"pipelineName": job, **_SELECTOR}, "tags": []})["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise UserError(f"Dagster did not launch {job}: {answer}")
    return str(answer["run"]["runId"])


def was_launched(settings: Settings, job: str) -> bool:
    """Whether a run of the job succeeded, or is not finished. Raises ServerDownError."""
    return bool(graphql(settings, _RUNS, {"job": job})["runsOrError"].get("results"))


def wait_for_run(
    settings: Settings, run_id: str, timeout_s: float, on_status: Callable[[str], None] = lambda status: None
) -> None:
    """Returns once the run has succeeded. `on_status` is called with each status that is read, about once a second.

    Raises ServerDownError; UserError, which names the run, if the run fails or takes longer than `timeout_s` seconds.
    """
    began = time.monotonic()
    status = ""
    while time.monotonic() - began < timeout_s:
        status = graphql(settings, _STATUS, {"id": run_id})["runOrError"].get("status", "NOT FOUND")
        on_status(status)
        if status == "SUCCESS":
            return
        if status in FINISHED:
            raise UserError(f"Dagster run {run_id} ended as {status}: {run_url(settings, run_id)}")
        time.sleep(1)
    raise UserError(f"Dagster run {run_id} is {status} after {timeout_s:.0f} s: {run_url(settings, run_id)}")


def run_url(settings: Settings, run_id: str) -> str:
    return f"http://127.0.0.1:{settings.dagster_port}/runs/{run_id}"


def login(settings: Settings) -> tuple[str, str] | None:
    """User and password of Dagster's pages; None if they need no login."""
    password = settings.dagster_password.get_secret_value()
    return (settings.dagster_user, password) if password else None


def graphql(
    settings: Settings, query: str, variables: dict[str, Any] | None = None, timeout_s: float = REQUEST_TIMEOUT_S
) -> dict[str, Any]:
    """The `data` of the webserver's answer. Raises ServerDownError, UserError if Dagster refuses the query."""
    # not dagster-graphql's client: it imports Dagster, which alone takes 2.6 s of processor time
    url = f"http://127.0.0.1:{settings.dagster_port}/graphql"
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    known = login(settings)
    if known:
        request.add_header("Authorization", basic_login(*known))
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer: dict[str, Any] = json.load(response)
    except (urllib.error.URLError, TimeoutError) as error:
        raise server_down(settings, "dagster-webserver", url, error) from error
    if answer.get("data") is None:
        raise UserError(f"Dagster refused a query: {answer.get('errors', [{}])[0].get('message', 'no reason given')}")
    data: dict[str, Any] = answer["data"]
    return data
