"""The configuration that the two Sparks share: the Connect server, and the stream's own driver."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from string import Template

from evcharge import spark_daemon
from evcharge.class_archive import archive_options
from evcharge.components import NATIVE, SPARK
from evcharge.memory import SERIAL_GIVES_BACK, SPARK_COLLECTS_EVERY
from evcharge.settings import Settings

#: What the package `pyspark` has of Spark.
SPARK_HOME = Path(sysconfig.get_path("purelib"), "pyspark")
_FOLDER = NATIVE / "spark"
#: For the environment. Spark's own folder of configuration would be part of the class path, and Java archives no classes then.
NO_FOLDER = {"SPARK_CONF_DIR": ""}


def spark_configuration(settings: Settings, name: str, work: Path, port: int = 0) -> str:
    """The text of `spark-defaults.conf` for the Spark `name`, with secrets in it. It keeps its files in `work`.

    `port` is that of the Connect server; the stream's driver has none.
    """
    jars = SPARK.path(settings.cache)
    archive = archive_options(name, [*SPARK_HOME.glob("jars/*.jar"), *jars.glob("*.jar")])
    # Both tiers of compilation stay on: reading and judging a row soon takes a third of the time that it takes with the first
    # tier alone (measured with the stream).
    java_options = (
        *SERIAL_GIVES_BACK,
        archive,
        "-Duser.timezone=UTC",
        f"-Dlog4j2.configurationFile={_FOLDER / 'log4j2.properties'}",
        "-Djdk.lang.Process.launchMechanism=VFORK",
    )
    return Template((_FOLDER / "spark-defaults.conf").read_text()).substitute(
        jars=jars,
        java_options=" ".join(java_options),
        work=work,
        port=port,
        lakefs_endpoint=settings.lakefs_endpoint,
        access_key=settings.lakefs_access_key,
        secret_key=settings.lakefs_secret_key.get_secret_value(),
        daemon=spark_daemon.MODULE,
        collects_every=SPARK_COLLECTS_EVERY,
    )
