"""A quixstreams application that writes a topic to S3 as Parquet, as a peer of the archive.

It runs in an environment of its own, which `peers.python_with` makes: what its sink needs is not in the project's.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> None:
    """Reads what to do from its input, and writes the seconds from the first message until all are in S3."""
    from botocore.config import Config
    from quixstreams import Application
    from quixstreams.kafka.configuration import ConnectionConfig
    from quixstreams.sinks import SinkBatch
    from quixstreams.sinks.community.file.formats import ParquetFormat
    from quixstreams.sinks.community.file.s3 import S3FileSink

    given = json.load(sys.stdin)

    class Archive(S3FileSink):
        """Ends the application once it has written all messages."""

        began, rows = 0.0, 0

        def add(self, *args: Any, **kwargs: Any) -> None:
            self.began = self.began or time.perf_counter()
            super().add(*args, **kwargs)

        def write(self, batch: SinkBatch) -> None:
            super().write(batch)
            self.rows += batch.size
            if self.rows >= given["messages"]:
                application.stop()

    application = Application(
        ConnectionConfig(**given["kafka"]),
        consumer_group=given["group"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_interval=5.0,
        commit_every=min(given["messages"], given["rows_at_once"]),
        loglevel="WARNING",
    )
    sink = Archive(
        **given["s3"],
        directory=given["group"].replace("-", "_"),
        format=ParquetFormat(compression="zstd"),
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )
    application.dataframe(application.topic(given["topic"], value_deserializer="json")).sink(sink)
    application.run()
    print(json.dumps({"seconds": time.perf_counter() - sink.began, "messages": sink.rows}))


if __name__ == "__main__":
    main()
