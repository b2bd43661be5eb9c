"""Hosts the ClickHouse engine of the npm package @chdb/lib-linux-x64-gnu as a server: native TCP and HTTP.

    server.py LIBCHDB_SO CONFIG_XML DATA_DIR TCP_PORT HTTP_PORT

Runs until SIGTERM or SIGINT, which end it cleanly. The engine's session ends when its last query does. That query only
sleeps, because the session's user may not read anything; on the signal the user `host` ends it. The environment variable
CLICKHOUSE_HOST_PASSWORD is that user's password.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import urllib.request

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
STOP_TIMEOUT_S = 20
_SLEEP = "SELECT sleepEachRow(1) FROM numbers(10000000000)"


def run_engine(library: str, arguments: list[str]) -> str:
    """Runs the engine's command line until its last query ends; returns its error message, empty if there is none."""
    engine = ctypes.CDLL(library)
    engine.chdb_query_cmdline.restype = ctypes.c_void_p
    engine.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    engine.chdb_result_error.restype = ctypes.c_char_p
    engine.chdb_result_error.argtypes = [ctypes.c_void_p]
    argv = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
    error = engine.chdb_result_error(engine.chdb_query_cmdline(len(arguments), argv))
    return error.decode() if error else ""


def end_session(http_port: str) -> None:
    """Ends the hosting session's last query. Raises OSError if the engine does not answer."""
    query = f"KILL QUERY WHERE query LIKE '{_SLEEP}%' AND user = '' SYNC"
    login = {"X-ClickHouse-User": "host", "X-ClickHouse-Key": os.environ["CLICKHOUSE_HOST_PASSWORD"]}
    request = urllib.request.Request(f"http://127.0.0.1:{http_port}/", query.encode(), login)
    urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S).close()


def main(library: str, config: str, data: str, tcp_port: str, http_port: str) -> int:
    arguments = [
        "clickhouse",
        f"--config-file={config}",
        f"--path={data}",
        "--listen_host=127.0.0.1",
        f"--tcp_port={tcp_port}",
        f"--http_port={http_port}",
        "--multiquery",
        f"--query=SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; {_SLEEP} FORMAT Null "
        "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0",
    ]
    # blocked before the engine's threads exist, so that none of them can take the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    failures: list[str] = []

    def host() -> None:
        failures.append(run_engine(library, arguments))
        os.kill(os.getpid(), signal.SIGTERM)

    engine = threading.Thread(target=host, daemon=True)
    engine.start()
    signal.sigwait(STOP_SIGNALS)
    if engine.is_alive():
        # OSError: the engine does not answer, so it cannot be asked to end
        with contextlib.suppress(OSError):
            end_session(http_port)
            engine.join(STOP_TIMEOUT_S)
    print(failures[0] if failures else "the engine did not stop in time", file=sys.stderr, flush=True)
    # without the engine's exit handlers, which wait for its listeners' threads
    os._exit(0 if failures == [""] else 1)


if __name__ == "__main__":
    main(*sys.argv[1:6])
