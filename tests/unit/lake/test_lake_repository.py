"""Which requests to lakeFS are repeated: a small HTTP server answers in its place and counts them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from lakefs_sdk.exceptions import ApiException
from urllib3.util.retry import Retry

from evcharge.connections import ServerDownError
from evcharge.lake.repository import Repository
from evcharge.settings import load_settings


class LakeServer(ThreadingHTTPServer):
    """Answers 503 to the first `failures` requests, then 200; `requests` has the methods that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures = 0
        self.hangs_up = False
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: LakeServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.server.requests.append(self.command)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.hangs_up:
            self.close_connection = True
            return
        fails = len(self.server.requests) <= self.server.failures
        body = b"" if fails else b"content"
        self.send_response(503 if fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[LakeServer]:
    with LakeServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that urllib3 would wait before each retry; nobody waits for them."""
    seconds: list[float] = []
    monkeypatch.setattr(Retry, "_sleep_backoff", lambda retry: seconds.append(retry.get_backoff_time()))
    return seconds


@pytest.fixture
def repository(server: LakeServer) -> Repository:
    return repository_at(server.server_address[1])


def repository_at(port: int) -> Repository:
    return Repository(load_settings(lakefs_endpoint=f"http://127.0.0.1:{port}"))


def test_a_read_is_tried_three_times(server: LakeServer, repository: Repository, pauses: list[float]) -> None:
    server.failures = 2
    assert repository.read("main", "path") == b"content"
    assert server.requests == ["GET"] * 3
    assert pauses == [0, 3]


def test_a_deletion_is_tried_three_times(server: LakeServer, repository: Repository) -> None:
    server.failures = 2
    repository.delete_branch("branch")
    assert server.requests == ["DELETE"] * 3


def test_the_last_answer_to_a_read_is_raised(server: LakeServer, repository: Repository) -> None:
    server.failures = 9
    with pytest.raises(ApiException) as error:
        repository.read("main", "path")
    assert error.value.status == 503
    assert server.requests == ["GET"] * 3


@pytest.mark.parametrize("operation", ["create_branch", "commit", "merge"])
def test_a_change_is_sent_once(server: LakeServer, repository: Repository, operation: str) -> None:
    server.failures = 1
    with pytest.raises(ApiException) as error:
        change(repository, operation)
    assert error.value.status == 503
    assert server.requests == ["POST"]


@pytest.mark.parametrize("operation", ["create_branch", "commit", "merge"])
def test_a_change_whose_answer_is_lost_is_sent_once(server: LakeServer, repository: Repository, operation: str) -> None:
    server.hangs_up = True
    with pytest.raises(ServerDownError):
        change(repository, operation)
    assert server.requests == ["POST"]


def test_a_read_whose_answer_is_lost_is_tried_three_times(server: LakeServer, repository: Repository) -> None:
    server.hangs_up = True
    with pytest.raises(ServerDownError, match=r"^lakefs at http://127\.0\.0\.1:\d+ does not answer"):
        repository.read("main", "path")
    assert server.requests == ["GET"] * 3


def test_a_dead_server_is_one_error_and_no_log(caplog: pytest.LogCaptureFixture, pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with caplog.at_level(logging.WARNING), pytest.raises(ServerDownError):
        repository_at(port).read("main", "path")
    assert len(pauses) == 2
    assert not caplog.records


def change(repository: Repository, operation: str) -> None:
    if operation == "create_branch":
        repository.create_branch("branch")
    elif operation == "commit":
        repository.commit("branch", "message", {})
    else:
        repository.merge("branch", "message", {})
