"""`python -m benchmarks.traced_stream`: the stream, which notes what took how long, for `benchmarks.trace`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

from pyspark.sql.streaming.listener import StreamingQueryListener

from benchmarks.traced_worker import FOLDER
from evcharge.live import spark_driver, stream_runner
from evcharge.settings import Settings, load_settings


class Notes(StreamingQueryListener):
    """Writes down what Spark says about each batch."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def onQueryStarted(self, event: Any) -> None:
        pass

    def onQueryProgress(self, event: Any) -> None:
        # one line
        text = " ".join(event.progress.json.split())
        with self.file.open("a") as file:
            file.write(f"{text}\n")

    def onQueryIdle(self, event: Any) -> None:
        pass

    def onQueryTerminated(self, event: Any) -> None:
        pass


def main() -> None:
    own_session = spark_driver.stream_session

    def session(settings: Settings) -> Any:
        spark = own_session(settings)
        spark.streams.addListener(Notes(Path(os.environ[FOLDER], "batches.jsonl")))
        return spark

    spark_driver.WORKER_IMPORTS += ",benchmarks.traced_worker"
    stream_runner.stream_session = session
    stop = Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    stream_runner.run_stream(load_settings(), stop)


if __name__ == "__main__":
    main()
