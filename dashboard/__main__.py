"""Runs the dashboard: `python -m dashboard --port PORT --streams LIMIT` with EVCHARGE_HOME in the environment.

One process with threads: an open event stream holds a thread, and the others answer questions. So the caps on streams and on
requests hold for the whole server. Listens on 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import resource
import signal
import socket
import struct
import threading
import time
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.http import parser as http_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

#: Threads that answer questions, whatever the streams do.
QUESTION_THREADS = 32
#: Connections that may be open beside the threads' own: kept alive, or not yet heard of.
IDLE_CONNECTIONS = 2_000
#: A client that sends nothing for so long in the middle of a request is cut off; it holds a thread meanwhile.
RECEIVE_TIMEOUT_S = 3
#: So is one that sends a little now and then, but has not sent its request after so long.
REQUEST_TIMEOUT_S = 5
#: So is one that takes nothing of an answer.
SEND_TIMEOUT_S = 10
#: Files and sockets of the process itself, and those to the stores.
_OWN_FILES = 200


class TimedUnreader(SocketUnreader):
    """What a client sends, until its time is over. Then it is as if the client had gone, which needs no line of the log."""

    def __init__(self, sock: socket.socket, max_chunk: int = 8_192) -> None:
        super().__init__(sock, max_chunk)
        self.begin()

    def begin(self) -> None:
        """A new request begins."""
        self.ends_at = time.monotonic() + REQUEST_TIMEOUT_S

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes, none if there is no time left. Raises OSError."""
        if time.monotonic() > self.ends_at:
            return b""
        try:
            data: bytes = super().chunk(size_hint)
        except BlockingIOError:
            return b""
        return data


class TimedWorker(gthread.ThreadWorker):
    """gunicorn's worker, with a time limit for each request of a connection that is kept alive."""

    def handle(self, conn: Any) -> Any:
        if conn.parser is not None:
            conn.parser.unreader.begin()
        return super().handle(conn)


class Server(BaseApplication):
    """gunicorn with one worker, which alone loads our code: clients of stores do not survive a fork, and new code is read."""

    def __init__(self, port: int, streams: int, reload: bool, most_files: int) -> None:
        self.port = port
        threads = streams + QUESTION_THREADS
        connections = min(threads + IDLE_CONNECTIONS, most_files - _OWN_FILES)
        self.chosen: dict[str, Any] = {
            "bind": f"127.0.0.1:{port}",
            "workers": 1,
            "worker_class": TimedWorker,
            "threads": threads,
            "worker_connections": connections,
            "keepalive": 5,
            # the most that gunicorn takes: a page may name two hundred stations
            "limit_request_line": 8_190,
            "graceful_timeout": 5,
            "timeout": 60,
            "reload": reload,
            # a socket in the user's home that takes commands
            "control_socket_disable": True,
            "proc_name": "evcharge-dashboard",
            "when_ready": _limit_sockets,
            "post_worker_init": _begin,
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from dashboard.app import create_app
        from evcharge.queries.dashboard import open_dashboard

        return create_app(*open_dashboard(self.port))


def _limit_sockets(arbiter: Any) -> None:
    """Gives the listening socket time limits, which the kernel hands on to every connection: gunicorn has none."""
    limits = {socket.SO_RCVTIMEO: RECEIVE_TIMEOUT_S, socket.SO_SNDTIMEO: SEND_TIMEOUT_S}
    for listener in arbiter.LISTENERS:
        for option, seconds in limits.items():
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def _begin(worker: Any) -> None:
    """Loads what questions need, beside the first of them. Lets SIGTERM end the event streams.

    They would otherwise hold the worker until it is killed.
    """
    from evcharge.queries.dashboard import warm

    known = worker.app.callable.extensions
    threading.Thread(target=warm, args=(known["queries"],), name="warm", daemon=True).start()
    streams = known["streams"]

    def stop(number: int, frame: Any) -> None:
        threading.Thread(target=streams.close).start()
        worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, stop)


def _never_wait_for_clients() -> None:
    """Takes waits out of gunicorn that have no setting."""
    http_parser.SocketUnreader = TimedUnreader
    # a connection that is silent at first would hold a thread for 5 s; in the poller it holds none
    gthread.DEFAULT_WORKER_DATA_TIMEOUT = 0.0
    # the thread that accepts connections would wait 2 s for a client to close its end
    util.close_graceful = partial(util.close_graceful, timeout=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dashboard")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True, help="open event streams at most")
    parser.add_argument("--reload", action="store_true", help="start anew when the code changes")
    arguments = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    _never_wait_for_clients()
    Server(arguments.port, arguments.streams, arguments.reload, most_files).run()


if __name__ == "__main__":
    main()
