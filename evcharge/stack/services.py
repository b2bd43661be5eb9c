"""What the platform runs natively: each server's command, configuration, order and probe.

`definitions` only describes; `prepare` writes the configuration files and formats what has to be formatted once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from evcharge.components import NATIVE, components
from evcharge.priority import BACKGROUND, STREAM
from evcharge.settings import PROJECT, Settings, stack_file
from evcharge.stack import probes
from evcharge.stack.errors import StackError
from evcharge.stack.programs import java_command, unprivileged


@dataclass(frozen=True)
class Service:
    """A server: how it is run (empty `command`: it is external, only probed) and how to ask whether it serves.

    The higher its `niceness`, as `nice` takes it, the sooner it yields to the others where the processors are all busy.
    """

    name: str
    version: str
    port: int
    probe: Callable[[Settings], None] | None
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    ready_within_s: int = 120
    stop_within_s: int = 20
    on_demand: bool = False
    niceness: int = 0
    note: str = ""

    @property
    def external(self) -> bool:
        return not self.command


def definitions(settings: Settings) -> dict[str, Service]:
    """Every service by name, in the order in which they start."""
    versions, cache, home = stack_file()["versions"], settings.cache, settings.home
    paths = {name: str(component.path(cache)) for name, component in components().items()}
    # a missing Java is the preflight's to tell, and no matter to who only looks
    java = str(Path(os.environ["JAVA_HOME"]) / "bin" / "java") if "JAVA_HOME" in os.environ else "java"
    java_home = Path(shutil.which(java) or java).resolve().parent.parent
    python, scripts = sys.executable, Path(sysconfig.get_path("scripts"))
    secret = {name: getattr(settings, name).get_secret_value() for name in _SECRETS}
    platform = {
        "EVCHARGE_HOME": str(home),
        "EVCHARGE_PORT_OFFSET": str(settings.port_offset),
        "EVCHARGE_PROFILE": settings.profile,
    }
    spark_client = {"SPARK_CONNECT_AUTHENTICATE_TOKEN": secret["spark_token"]}
    dagster = platform | spark_client | dagster_environment(settings)
    services = (
        Service(
            "kafka",
            versions["kafka"],
            settings.port("kafka"),
            probes.probe_kafka,
            (
                # the first tier of compilation only: about half the processor time of starting and of light load
                *(java, "-Xms128m", "-Xmx512m", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1"),
                *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
                f"-Dlog4j2.configurationFile={NATIVE / 'kafka' / 'log4j2.properties'}",
                *("-cp", f"{paths['kafka']}/*", "kafka.Kafka", str(home / "kafka" / "server.properties")),
            ),
            stop_within_s=40,
        ),
        Service(
            "minio",
            versions["minio"],
            settings.port("minio"),
            probes.probe_minio,
            (
                *(paths["minio"], "server", str(home / "minio" / "data")),
                *("--address", f"127.0.0.1:{settings.port('minio')}"),
                *("--console-address", f"127.0.0.1:{settings.port('minio_console')}"),
            ),
            {
                "MINIO_ROOT_USER": settings.minio_access_key,
                "MINIO_ROOT_PASSWORD": secret["minio_secret_key"],
                "MINIO_UPDATE": "off",
                "HOME": str(home / "minio"),
            },
        ),
        Service(
            "lakefs",
            versions["lakefs"],
            settings.port("lakefs"),
            probes.probe_lakefs,
            (paths["lakefs"], "--config", str(home / "lakefs" / "lakefs.yaml"), "run"),
            {
                "LAKEFS_INSTALLATION_USER_NAME": "evcharge",
                "LAKEFS_INSTALLATION_ACCESS_KEY_ID": settings.lakefs_access_key,
                "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": secret["lakefs_secret_key"],
                "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": _derived(secret["lakefs_secret_key"], "lakefs-encryption"),
                "LAKEFS_BLOCKSTORE_SIGNING_SECRET_KEY": _derived(secret["lakefs_secret_key"], "lakefs-signing"),
                "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID": settings.minio_access_key,
                "LAKEFS_BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY": secret["minio_secret_key"],
            },
            after=("minio",),
        ),
        Service(
            "clickhouse",
            versions["clickhouse"],
            settings.clickhouse_port,
            probes.probe_clickhouse,
            (
                *(python, str(NATIVE / "clickhouse" / "server.py"), paths["clickhouse"]),
                *(str(home / "clickhouse" / "config.xml"), str(home / "clickhouse" / "data")),
                *(str(settings.port("clickhouse")), str(settings.port("clickhouse_http"))),
            ),
            stop_within_s=30,
            note="ClickHouse engine via the chDB library",
        ),
        Service(
            "elasticsearch",
            versions["elasticsearch"],
            settings.port("elasticsearch"),
            probes.probe_elasticsearch,
            (*unprivileged(ELASTICSEARCH_USER_ID), paths["elasticsearch"] + "/bin/elasticsearch"),
            {
                "ES_PATH_CONF": str(home / "elasticsearch" / "config"),
                "ES_TMPDIR": str(home / "elasticsearch" / "tmp"),
                "ES_JAVA_HOME": str(java_home),
                "HOME": str(home / "elasticsearch"),
            },
            stop_within_s=40,
        ),
        Service(
            "cassandra",
            versions["cassandra"],
            settings.port("cassandra"),
            probes.probe_cassandra,
            (
                *(java, "-Xms256m", "-Xmx1g", f"-javaagent:{paths['cassandra']}/jamm-{_JAMM}.jar"),
                f"@{NATIVE / 'cassandra' / 'jvm.options'}",
                f"-Dlogback.configurationFile={NATIVE / 'cassandra' / 'logback.xml'}",
                f"-Dcassandra.config={(home / 'cassandra' / 'cassandra.yaml').as_uri()}",
                f"-Dcassandra.storagedir={home / 'cassandra' / 'data'}",
                f"-Dcassandra.logdir={home / 'cassandra' / 'data' / 'logs'}",
                *("-cp", f"{paths['cassandra']}/*", "org.apache.cassandra.service.CassandraDaemon"),
            ),
            stop_within_s=40,
            # what the stream writes there, drivers do not wait for
            niceness=STREAM,
        ),
        Service(
            "mongodb",
            versions["mongodb"],
            settings.port("mongodb"),
            probes.probe_mongodb,
            (str(scripts / "secantusd-py"), "--config", str(home / "mongodb" / "secantusd.toml")),
            {"HOME": str(home / "mongodb")},
            note="SecantusDB, which speaks MongoDB's protocol",
        ),
        Service(
            "spark-connect",
            versions["spark"],
            settings.port("spark_connect"),
            probes.probe_spark_connect,
            (
                *(_spark_home() + "/bin/spark-submit", "--class", _SPARK_CONNECT_CLASS),
                *("--properties-file", str(home / "spark" / "spark-defaults.conf"), "spark-internal"),
            ),
            {
                "SPARK_HOME": _spark_home(),
                "SPARK_CONF_DIR": str(home / "spark"),
                "SPARK_NO_DAEMONIZE": "1",
                "SPARK_LOCAL_IP": "127.0.0.1",
                # otherwise the workers are the PATH's python3, which has none of the project's packages
                "PYSPARK_PYTHON": python,
                **platform,
                **spark_client,
            },
            stop_within_s=30,
            # publications and loads
            niceness=BACKGROUND,
        ),
        Service(
            "dagster-code",
            versions["dagster"],
            settings.port("dagster_code"),
            probes.probe_dagster_code,
            (
                *(str(scripts / "dagster"), "code-server", "start", "-h", "127.0.0.1"),
                *("-p", str(settings.port("dagster_code")), "-m", "evcharge_assets.definitions", "-a", "defs"),
                *("-d", str(PROJECT), "--location-name", "evcharge", "--use-python-environment-entry-point"),
            ),
            dagster,
            after=STORES,
            stop_within_s=60,
            # its runs inherit it: as the stream's, which is one of them
            niceness=STREAM,
        ),
        Service(
            "dagster-webserver",
            versions["dagster"],
            settings.dagster_port,
            probes.probe_dagster_webserver,
            (
                *(str(scripts / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(settings.dagster_port)),
                *("-w", str(PROJECT / "workspace.yaml")),
            ),
            dagster,
            after=("dagster-code",),
            stop_within_s=30,
        ),
        Service(
            "dagster-daemon",
            versions["dagster"],
            0,
            probes.probe_dagster_daemon,
            (str(scripts / "dagster-daemon"), "run", "-w", str(PROJECT / "workspace.yaml")),
            dagster,
            # its sensors launch runs at once
            after=("dagster-code", "spark-connect"),
            stop_within_s=60,
        ),
        Service(
            "simulation",
            "live",
            0,
            None,
            (str(scripts / "evcharge"), "simulate", "live"),
            platform | spark_client,
            after=("kafka",),
            stop_within_s=30,
            on_demand=True,
            note="simulated charging, not a server",
        ),
    )
    return {service.name: _external(service, settings) for service in services}


#: The stores of what is going on now and of reference data, which a small platform goes without, and what it then lacks.
LIVE_STORES = {
    "elasticsearch": "free chargers nearby, station and traffic questions",
    "cassandra": "hourly usage",
    "mongodb": "reference data",
}
#: The services that hold data.
STORES = ("kafka", "minio", "lakefs", "clickhouse", *LIVE_STORES)
#: The services that hold or process data; the rest runs on top of them.
SERVERS = (*STORES, "spark-connect")

#: Elasticsearch refuses to run as root, so under root it runs as this user and group, which need no entry anywhere.
ELASTICSEARCH_USER_ID = 9200
#: The version of the agent that cassandra-all brings along (its POM).
_JAMM = "0.4.0"
_SPARK_CONNECT_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_SECRETS = ("minio_secret_key", "lakefs_secret_key", "spark_token")


def in_profile(settings: Settings) -> dict[str, Service]:
    """The services of the settings' profile, by name, in order. An external server belongs to every profile."""
    return {
        name: service
        for name, service in definitions(settings).items()
        if settings.profile == "full" or service.external or name not in LIVE_STORES
    }


def missing_without(stores: Collection[str]) -> str:
    """One line on what a platform without `stores` lacks and how to get it."""
    lacks = [LIVE_STORES[name] for name in stores]
    if {"elasticsearch", "cassandra"} & set(stores):
        lacks.append("live stream")
    return f"{', '.join(stores)} do not run, so these are missing: {', '.join(lacks)}; `make up PROFILE=full` adds them"


def dagster_environment(settings: Settings) -> dict[str, str]:
    """What Dagster's processes need beyond the platform's settings: its home and the compute logs' store."""
    return {
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_CODE_PORT": str(settings.port("dagster_code")),
        "COMPUTE_LOG_BUCKET": settings.compute_log_bucket,
        "COMPUTE_LOG_ENDPOINT": settings.minio_endpoint,
        "COMPUTE_LOG_DIR": str(settings.home / "dagster" / "compute-logs"),
        "AWS_ACCESS_KEY_ID": settings.minio_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.minio_secret_key.get_secret_value(),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def prepare(settings: Settings, names: set[str]) -> None:
    """Writes the configuration of the services in `names` below `settings.home`; formats once what has to be."""
    home = settings.home
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    services = definitions(settings)
    run = {name for name in names if not services[name].external}
    if "kafka" in run:
        _render(
            "kafka/server.properties",
            home / "kafka" / "server.properties",
            port=settings.port("kafka"),
            controller_port=settings.port("kafka_controller"),
            user=settings.kafka_user,
            password=settings.kafka_password.get_secret_value(),
            data=home / "kafka" / "data",
        )
        _format_kafka(settings)
    if "minio" in run:
        (home / "minio" / "data").mkdir(parents=True, exist_ok=True)
    if "lakefs" in run:
        _render(
            "lakefs/lakefs.yaml",
            home / "lakefs" / "lakefs.yaml",
            port=settings.port("lakefs"),
            data=home / "lakefs" / "data",
            minio_endpoint=settings.minio_endpoint,
        )
    if "clickhouse" in run:
        users = home / "clickhouse" / "users.xml"
        (home / "clickhouse" / "data").mkdir(parents=True, exist_ok=True)
        _render("clickhouse/config.xml", home / "clickhouse" / "config.xml", users=users)
        _render(
            "clickhouse/users.xml",
            users,
            etl_user=settings.clickhouse_user,
            etl_sha256=_sha256(settings.clickhouse_password.get_secret_value()),
            analyst_user=settings.analyst_user,
            analyst_sha256=_sha256(settings.analyst_password.get_secret_value()),
            database=settings.clickhouse_database,
        )
    if "elasticsearch" in run:
        _prepare_elasticsearch(settings)
    if "cassandra" in run:
        (home / "cassandra" / "data").mkdir(parents=True, exist_ok=True)
        _render(
            "cassandra/cassandra.yaml",
            home / "cassandra" / "cassandra.yaml",
            port=settings.port("cassandra"),
            storage_port=settings.port("cassandra_storage"),
        )
    if "mongodb" in run:
        data = home / "mongodb" / "data"
        _render("mongodb/secantusd.toml", home / "mongodb" / "secantusd.toml", port=settings.port("mongodb"), data=data)
        _create_mongodb_user(settings, data)
    if "spark-connect" in run:
        (home / "spark" / "work").mkdir(parents=True, exist_ok=True)
        _render("spark/log4j2.properties", home / "spark" / "log4j2.properties")
        _render(
            "spark/spark-defaults.conf",
            home / "spark" / "spark-defaults.conf",
            jars=components()["spark-connect"].path(settings.cache),
            work=home / "spark" / "work",
            port=settings.port("spark_connect"),
            lakefs_endpoint=settings.lakefs_endpoint,
            access_key=settings.lakefs_access_key,
            secret_key=settings.lakefs_secret_key.get_secret_value(),
        )
    if run & {"dagster-code", "dagster-webserver", "dagster-daemon"}:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        _write(settings.dagster_home / "dagster.yaml", (PROJECT / "dagster.yaml").read_text())


def working_directory(settings: Settings, name: str) -> Path:
    """Where a service runs: a folder of its own, or the project for what is the project's code."""
    own = {name: name for name in STORES} | {"spark-connect": "spark"}
    return settings.home / own[name] if name in own else PROJECT


def configuration_digest(settings: Settings, name: str) -> str:
    """A hash over the service's configuration files, so that a change restarts it."""
    folder = settings.dagster_home if name.startswith("dagster") else working_directory(settings, name)
    names = (
        "server.properties",
        "lakefs.yaml",
        "config.xml",
        "users.xml",
        "spark-defaults.conf",
        "log4j2.properties",
        "config/elasticsearch.yml",
        "config/jvm.options",
        "config/log4j2.properties",
        "config/users",
        "cassandra.yaml",
        "secantusd.toml",
        "dagster.yaml",
    )
    files = [] if folder == PROJECT else [folder / name for name in names if (folder / name).exists()]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _external(service: Service, settings: Settings) -> Service:
    if not settings.is_external(service.name):
        return service
    return Service(
        service.name, "", _external_port(service.name, settings), service.probe, after=service.after, note="external"
    )


def _external_port(name: str, settings: Settings) -> int:
    addresses = {
        "kafka": settings.kafka_bootstrap_servers.split(",")[0],
        "minio": settings.minio_endpoint,
        "lakefs": settings.lakefs_endpoint,
        "clickhouse": f"{settings.clickhouse_host}:{settings.clickhouse_port}",
        "spark-connect": settings.spark_remote.partition("/;")[0],
        "elasticsearch": settings.elasticsearch_url,
        "cassandra": settings.cassandra_contact_points.split(",")[0],
        "mongodb": settings.mongodb_host.split(",")[0],
    }
    port = addresses[name].rpartition(":")[2].rstrip("/")
    return int(port) if port.isdigit() else 0


def _format_kafka(settings: Settings) -> None:
    """Formats Kafka's storage with the platform's SCRAM user, unless it is formatted."""
    if (settings.home / "kafka" / "data" / "meta.properties").exists():
        return
    # 16 bytes in base64; a fixed first letter, because a leading dash would be taken for an option
    cluster_id = "E" + base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")[1:]
    credential = f"name={settings.kafka_user},password={settings.kafka_password.get_secret_value()}"
    command = [
        *(java_command(), "-Xmx128m", f"-Dlog4j2.configurationFile={NATIVE / 'kafka' / 'log4j2.properties'}"),
        *("-cp", f"{components()['kafka'].path(settings.cache)}/*", "kafka.tools.StorageTool", "format"),
        *("--cluster-id", cluster_id, "--config", str(settings.home / "kafka" / "server.properties")),
        *("--standalone", "--add-scram", f"SCRAM-SHA-256=[{credential}]"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise StackError(f"kafka: its storage cannot be formatted\n{(done.stdout + done.stderr).strip()[-1500:]}")


def _prepare_elasticsearch(settings: Settings) -> None:
    """Writes Elasticsearch's files, with the platform's user as the only one, in folders that its process can write."""
    import bcrypt

    folder = settings.home / "elasticsearch"
    config = folder / "config"
    for name in ("config", "data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _render(
        "elasticsearch/elasticsearch.yml",
        config / "elasticsearch.yml",
        data=folder / "data",
        logs=folder / "logs",
        port=settings.port("elasticsearch"),
        transport_port=settings.port("elasticsearch_transport"),
    )
    for name in ("jvm.options", "log4j2.properties"):
        _write(config / name, (NATIVE / "elasticsearch" / name).read_text())
    users, password = config / "users", settings.elasticsearch_password.get_secret_value().encode()
    user, _, known = (users.read_text().strip() if users.exists() else "").partition(":")
    # a hash has its own salt: written anew it would restart the server for nothing
    if user != settings.elasticsearch_user or not bcrypt.checkpw(password, known.encode()):
        hashed = bcrypt.hashpw(password, bcrypt.gensalt(rounds=10, prefix=b"2a")).decode()
        _write(users, f"{settings.elasticsearch_user}:{hashed}\n")
    _write(config / "users_roles", f"superuser:{settings.elasticsearch_user}\n")
    if not os.getuid():
        for parent, _, files in os.walk(folder):
            for path in (parent, *(os.path.join(parent, file) for file in files)):
                # a running server's files come and go
                with contextlib.suppress(FileNotFoundError):
                    os.chown(path, ELASTICSEARCH_USER_ID, ELASTICSEARCH_USER_ID, follow_symlinks=False)


def _create_mongodb_user(settings: Settings, data: Path) -> None:
    """Creates the server's storage with the platform's user, unless it is there: with logins on, no client could."""
    if data.exists():
        return
    from pymongo import MongoClient
    from secantus import SecantusDBServer

    # filled under another name, so that it is there with its user or not at all
    new = data.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    with (
        SecantusDBServer(storage_path=str(new), replica_set_name=None, enable_test_commands=False) as server,
        MongoClient[dict[str, object]](server.uri, serverSelectionTimeoutMS=10_000) as client,
    ):
        client["admin"].command(
            "createUser",
            settings.mongodb_user,
            pwd=settings.mongodb_password.get_secret_value(),
            roles=[{"role": "dbOwner", "db": settings.mongodb_database}],
        )
    new.rename(data)


def _render(template: str, target: Path, **values: object) -> None:
    _write(target, Template((NATIVE / template).read_text()).substitute({k: str(v) for k, v in values.items()}))


def _write(target: Path, text: str) -> None:
    """Writes a file that only its owner can read, completely or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(target)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _derived(secret: str, purpose: str) -> str:
    """A key of its own for `purpose`, so that one secret need not be kept per use."""
    return _sha256(f"{purpose}:{secret}")


def _spark_home() -> str:
    return str(Path(sysconfig.get_path("purelib")) / "pyspark")
