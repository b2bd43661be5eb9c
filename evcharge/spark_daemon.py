"""PySpark's daemon, which forks Python workers, with the workers' imports already in it.

Spark starts it by its setting `spark.python.daemon.module`. PySpark's own daemon lets every new worker import by itself: a
second of processor time, and 60 MB that it shares with no other one.

Spark has a daemon for each environment that workers have, and the stream gives each query one of its own. With FORKS in the
environment they are forks of one process (`python -m evcharge.spark_daemon --forks NAME`). What Spark has started then only
hands over its streams and its environment, and waits for the fork to end.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress

#: Environment: modules that the workers need, by name, separated by commas.
IMPORTS = "EVCHARGE_WORKER_IMPORTS"
#: Environment: the name of the process that makes the forks. Its socket has no file, which a kill would leave (unix(7)).
FORKS = "EVCHARGE_WORKER_FORKS"
MODULE = "evcharge.spark_daemon"
#: That process imports for a second or two, on a busy machine for longer.
FORKS_WITHIN_S = 30.0
#: A daemon without workers ends after this. Spark starts another one when it needs it. Of Spark Connect each session has a
#: daemon of its own, which otherwise stays when the session has ended: a hundred a day.
ENDS_AFTER_S = 300.0
LOOK_EVERY_S = 20.0
_SIZE_BYTES = 4


def main() -> None:
    # as PySpark's own: a Ctrl-C in the terminal is for the driver, which then closes the standard input
    os.setpgid(0, 0)
    if sys.argv[1:2] == ["--forks"]:
        serve_forks(sys.argv[2])
    elif not (name := os.environ.get(FORKS)) or not _hand_over(name):
        _import()
        _be_daemon()


def serve_forks(name: str) -> None:
    """Makes a daemon for each process that hands over its streams, until the own standard input is closed."""
    _import()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_address(name))
        listener.listen()
        while True:
            ready, _, _ = select.select([0, listener.fileno()], [], [], 60.0)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if 0 in ready:
                return
            if listener.fileno() in ready:
                asker, _ = listener.accept()
                if _is_ours(asker) and os.fork() == 0:
                    listener.close()
                    _take_over(asker)
                    _be_daemon()
                    return
                asker.close()


def _address(name: str) -> str:
    return f"\0{name}"


def _is_ours(connection: socket.socket) -> bool:
    """Whether the same user is at the other end. A socket without a file has no rights of its own."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.getuid())


def _hand_over(name: str) -> bool:
    """Lets a fork be the daemon, and returns when it has ended. False if nobody makes forks."""
    import json

    message = json.dumps({"environment": dict(os.environ), "arguments": sys.argv}).encode()
    deadline = time.monotonic() + FORKS_WITHIN_S
    with socket.socket(socket.AF_UNIX) as asker:
        while True:
            try:
                asker.connect(_address(name))
                if not _is_ours(asker):
                    return False
                break
            except OSError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        socket.send_fds(asker, [len(message).to_bytes(_SIZE_BYTES, "big")], [0, 1, 2])
        asker.sendall(message)
        for descriptor in (0, 1):
            # Spark's ends must close when the fork's do
            os.close(descriptor)
        # the fork never sends, and its end closes with it
        asker.recv(1)
    return True


def _take_over(asker: socket.socket) -> None:
    import json

    size, descriptors, _, _ = socket.recv_fds(asker, _SIZE_BYTES, 3)
    message = b""
    while len(message) < int.from_bytes(size, "big"):
        message += asker.recv(1 << 20)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    given = json.loads(message)
    os.environ.clear()
    os.environ.update(given["environment"])
    sys.argv = given["arguments"]


def _import() -> None:
    import gc
    from importlib import import_module

    # numpy's linear algebra would start threads, which a fork does not have
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("pyspark.daemon", "pyspark.worker", *filter(None, os.environ.get(IMPORTS, "").split(","))):
        import_module(name)
    # objects that the collector leaves alone stay in memory that all forks share
    gc.collect()
    gc.freeze()


def _be_daemon() -> None:
    import signal

    from pyspark.daemon import manager

    idle_looks = 0

    def look(number: int, frame: object) -> None:
        nonlocal idle_looks
        idle_looks = 0 if _has_workers() else idle_looks + 1
        if idle_looks * LOOK_EVERY_S >= ENDS_AFTER_S:
            os._exit(0)

    # a fork has no timer, so workers do not look
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_S, LOOK_EVERY_S)
    manager()


def _has_workers() -> bool:
    # the daemon ignores their ends, so there is nothing to wait for but a worker that runs
    try:
        return os.waitpid(-1, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


if __name__ == "__main__":
    main()
