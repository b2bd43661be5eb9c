"""Dagster's server of definitions whose runs start warm. `python -m evcharge_assets.code_server` takes `dagster`'s options.

Dagster starts each run in a new process, which imports again all that a run needs: some 5 s of processor time here. This
server forks runs from a process that has imported it (`multiprocessing`'s forkserver). That process runs one thread of Python
and has no connection, so a fork of it is safe.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

from dagster._cli import main as dagster_main
from dagster._grpc import server

#: What every run needs, and what most of them do.
PRELOADED = ("evcharge_assets.warm_run",)


class WarmApiServer(server.DagsterApiServer):
    """Dagster's server of definitions, with another way to make a run's process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._mp_ctx = context  # type: ignore[assignment]


def main() -> None:
    # Dagster has no option for it: `dagster api grpc` makes the server of this class
    server.DagsterApiServer = WarmApiServer  # type: ignore[misc]
    sys.argv[0] = "dagster"
    dagster_main()


if __name__ == "__main__":
    main()
