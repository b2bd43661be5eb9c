"""The stream's own Spark driver. It ends with the process, unlike a query on the shared Connect server."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

from evcharge import spark_daemon
from evcharge.components import SPARK
from evcharge.priority import STREAM, yield_to_others
from evcharge.settings import Settings, require_clone
from evcharge.spark_configuration import NO_FOLDER, spark_configuration

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: What the queries' workers need.
WORKER_IMPORTS = "elasticsearch,pyarrow,evcharge.live.stream_inputs"


def stream_session(settings: Settings) -> SparkSession:
    """A Spark session with a driver in this process. It shares the Connect server's configuration, where both need the same.

    Raises UserError outside a clone, which alone has Spark's configuration and jars.
    """
    require_clone("the live stream")
    # Lowers the priority of this thread, and so of the JVM and the workers that it starts.
    yield_to_others(STREAM)
    # The workers need the project's packages, whichever python3 comes first on the PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # A parent process that uses the Connect server sets these. With them, this session would be a Connect client too.
    for name in ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"):
        os.environ.pop(name, None)
    from pyspark.sql import SparkSession

    work = settings.home / "live" / "spark"
    work.mkdir(parents=True, exist_ok=True)
    _start_forks()
    # A file, because a session's own configuration stands in the driver's arguments, which every user of the machine can read.
    properties = work / "spark-defaults.conf"
    with open(properties, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(spark_configuration(settings, "stream", work))
        file.writelines(f"{name} {value}\n" for name, value in _of_cluster(settings).items())
    os.environ.update(NO_FOLDER)
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--properties-file {shlex.quote(str(properties))} pyspark-shell"
    builder = SparkSession.builder.master(settings.stream_master).appName("evcharge-stream")
    own = {
        "spark.driver.memory": "1g",
        # The queries share the slots: no query waits for the end of another's batch.
        "spark.scheduler.mode": "FAIR",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.streaming.stopTimeout": "20s",
        # Hadoop's checksummed local files start a shell command for each permission that they set. On a busy machine an
        # empty batch takes 0.4 s with them, 0.1 s without.
        "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution.streaming.checkpointing."
        "FileSystemBasedCheckpointFileManager",
        "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
        "spark.sql.streaming.minBatchesToRetain": "20",
        # Batches have few rows, and measuring a row's size costs as much as writing it.
        "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),
        # A batch without rows would still write its offsets.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    }
    for name, value in own.items():
        builder = builder.config(name, value)
    session: SparkSession = builder.getOrCreate()
    return session


def _of_cluster(settings: Settings) -> dict[str, str]:
    """What a master on other machines needs; nothing for a local one.

    Each of them has the project, its Python and its jars under the same paths. `SPARK_LOCAL_IP` is the driver's address.
    """
    if settings.stream_master.startswith("local"):
        return {}
    secret = settings.stream_secret.get_secret_value()
    return {
        "spark.driver.host": os.environ["SPARK_LOCAL_IP"],
        "spark.driver.bindAddress": os.environ["SPARK_LOCAL_IP"],
        "spark.executor.extraClassPath": f"{SPARK.path(settings.cache)}/*",
        "spark.executor.extraJavaOptions": "-Duser.timezone=UTC",
        "spark.executor.memory": "512m",
        f"spark.executorEnv.{spark_daemon.IMPORTS}": WORKER_IMPORTS,
        "spark.authenticate": str(bool(secret)).lower(),
        **({"spark.authenticate.secret": secret} if secret else {}),
    }


def _start_forks() -> None:
    """Starts the process of which the queries' daemons are forks. It ends with this one."""
    name = os.environ[spark_daemon.FORKS] = f"evcharge-{uuid4()}"
    subprocess.Popen(
        [sys.executable, "-m", spark_daemon.MODULE, "--forks", name],
        stdin=subprocess.PIPE,
        env=os.environ | {spark_daemon.IMPORTS: WORKER_IMPORTS},
    )
