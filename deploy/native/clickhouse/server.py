"""Hosts the ClickHouse engine of the npm package @chdb/lib-linux-x64-gnu as a server: native TCP and HTTP.

    server.py LIBCHDB_SO CONFIG_XML DATA_DIR TCP_PORT HTTP_PORT

Runs until SIGTERM or SIGINT, which end it cleanly. The engine's session ends when its last query does: that query
reads a FIFO, which this script writes to on the signal.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
STOP_TIMEOUT_S = 20


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


def main(library: str, config: str, data: str, tcp_port: str, http_port: str) -> int:
    fifo = Path(data).parent / "stop.fifo"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo, 0o600)
    arguments = [
        "clickhouse",
        f"--config-file={config}",
        f"--path={data}",
        "--listen_host=127.0.0.1",
        f"--tcp_port={tcp_port}",
        f"--http_port={http_port}",
        "--multiquery",
        f"--query=SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; SELECT count() FROM file('{fifo}', LineAsString)",
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
        with open(fifo, "w", opener=lambda path, _: os.open(path, os.O_RDWR)) as stop:
            stop.write("stop\n")
        engine.join(STOP_TIMEOUT_S)
    fifo.unlink(missing_ok=True)
    print(failures[0] if failures else "the engine did not stop in time", file=sys.stderr, flush=True)
    # without the engine's exit handlers, which wait for its listeners' threads
    os._exit(0 if failures == [""] else 1)


if __name__ == "__main__":
    main(*sys.argv[1:6])
