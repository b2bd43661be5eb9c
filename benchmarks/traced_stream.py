"""`python -m benchmarks.traced_stream`: the stream, which notes what took how long, for `benchmarks.trace`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from benchmarks.traced_worker import FOLDER
from evcharge.live import spark_driver, stream_runner
from evcharge.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Spark remembers the last 100 batches of each query.
_LOOK_EVERY_S = 2.0


def _note(spark: SparkSession, file: Path) -> None:
    """Writes down what Spark says about each batch, for ever.

    It is asked now and then. A listener in Python would be called for each batch, and took a fifth of a processor at 5,000
    events/s.
    """
    noted: dict[str | None, int] = {}
    while True:
        time.sleep(_LOOK_EVERY_S)
        for query in spark.streams.active:
            for progress in query.recentProgress:
                if progress.numInputRows and progress.batchId > noted.get(progress.name, -1):
                    noted[progress.name] = progress.batchId
                    with file.open("a") as lines:
                        lines.write(" ".join(progress.json.split()) + "\n")


def main() -> None:
    own_session = spark_driver.stream_session

    def session(settings: Settings) -> Any:
        spark = own_session(settings)
        Thread(target=_note, args=(spark, Path(os.environ[FOLDER], "batches.jsonl")), daemon=True).start()
        return spark

    spark_driver.WORKER_IMPORTS += ",benchmarks.traced_worker"
    stream_runner.stream_session = session
    stop = Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    stream_runner.run_stream(load_settings(), stop)


if __name__ == "__main__":
    main()
