"""Kafka, the log of all messages: one broker that is its own controller."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import Any, ClassVar

from evcharge.components import NATIVE, Component, pinned_version
from evcharge.connections import kafka_errors, kafka_options, require_listener
from evcharge.contracts import CONTRACTS, STATION_REGISTRY
from evcharge.errors import UserError
from evcharge.memory import G1_GIVES_BACK
from evcharge.settings import Settings
from evcharge.stack.errors import StackError
from evcharge.stack.files import write_from_template, write_private
from evcharge.stack.programs import java_command, java_path
from evcharge.stack.servers.base import Server, derived_key, password
from evcharge.stack.servers.probing import PROBE_TIMEOUT_S, NotHealthy

#: A message over the limit of a single row still has to reach the quarantine (design: 8 MB).
TOPIC_MESSAGE_BYTES = 8 * 1024 * 1024
TOPIC_CONFIGS = {
    "cleanup.policy": "delete",
    "max.message.bytes": str(TOPIC_MESSAGE_BYTES),
    # Kafka knows no ledger: it would delete what is not published yet. `evcharge/lake/retention.py` deletes the rest.
    "retention.ms": "-1",
    "retention.bytes": "-1",
    # a producer's clock may be wrong, so Kafka's clock decides what lies in the future
    "message.timestamp.type": "LogAppendTime",
}
_LOGGING = f"-Dlog4j2.configurationFile={NATIVE / 'kafka' / 'log4j2.properties'}"


class Kafka(Server):
    name = "kafka"
    version = pinned_version("kafka")
    unprivileged = True
    ports = ("kafka", "kafka_controller")
    secrets: ClassVar = {"kafka_password": password}
    component = Component("kafka", version, "jars", ("kafka/pom.xml",))
    programs: ClassVar = {"java": java_command}
    configuration = ("server.properties",)
    first_look = True
    stop_within_s = 40

    @property
    def address(self) -> str:
        return self.settings.kafka_bootstrap_servers.split(",")[0]

    @property
    def command(self) -> tuple[str, ...]:
        return (
            # the first tier of compilation only: about half the processor time of starting and of light load
            *(java_path(), "-Xmx512m", *G1_GIVES_BACK, "-XX:TieredStopAtLevel=1"),
            *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", _LOGGING),
            *("-cp", f"{self.program}/*", "kafka.Kafka", str(self.folder / "server.properties")),
        )

    def prepare(self) -> None:
        """Formats the storage once, with the platform's SCRAM user."""
        settings, file = self.settings, self.folder / "server.properties"
        write_from_template(
            "kafka/server.properties",
            file,
            port=settings.port("kafka"),
            controller_port=settings.port("kafka_controller"),
            user=settings.kafka_user,
            password=settings.kafka_password.get_secret_value(),
            controller_password=derived_key(settings.kafka_password.get_secret_value(), "kafka-controller"),
            data=self.folder / "data",
        )
        if (self.folder / "data" / "meta.properties").exists():
            return
        # 16 bytes in base64; the first letter is fixed, because a leading dash would look like an option
        cluster_id = "E" + base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")[1:]
        credential = f"name={settings.kafka_user},password={settings.kafka_password.get_secret_value()}"
        arguments = [
            *("-Xmx128m", _LOGGING, "-cp", f"{self.program}/*", "kafka.tools.StorageTool", "format"),
            *("--cluster-id", cluster_id, "--config", str(file)),
            *("--standalone", "--add-scram", f"SCRAM-SHA-256=[{credential}]"),
        ]
        # Java reads its arguments from a file, because every user of the machine can read a process's arguments.
        arguments_file = self.folder / "format.arguments"
        write_private(arguments_file, "\n".join(f'"{argument}"' for argument in arguments))
        try:
            done = subprocess.run([java_command(), f"@{arguments_file}"], capture_output=True, text=True, timeout=120)
        finally:
            arguments_file.unlink()
        if done.returncode:
            raise StackError(f"kafka: its storage cannot be formatted\n{(done.stdout + done.stderr).strip()[-1500:]}")

    def probe(self) -> None:
        """Logs in with SASL and reads the cluster's metadata."""
        from kafka import KafkaAdminClient

        for server in self.settings.kafka_bootstrap_servers.split(","):
            require_listener(server, PROBE_TIMEOUT_S)
        admin = KafkaAdminClient(
            **kafka_options(self.settings), request_timeout_ms=int(PROBE_TIMEOUT_S * 1000), bootstrap_timeout_ms=5000
        )
        try:
            if not admin.describe_cluster()["brokers"]:
                raise NotHealthy("no broker is registered")
        finally:
            admin.close()

    def bootstrap(self) -> None:
        """Creates one topic per contract and sets the configuration of all."""
        from kafka import KafkaAdminClient
        from kafka.admin import ConfigResource, ConfigResourceType

        with kafka_errors(self.settings):
            admin = KafkaAdminClient(**kafka_options(self.settings))
            try:
                missing = CONTRACTS.keys() - set(admin.list_topics())
                if missing:
                    admin.create_topics(
                        {topic: _topic_options(self.settings, topic) for topic in sorted(missing)},
                        wait_for_metadata=True,
                    )
                altered = admin.alter_configs(
                    [ConfigResource(ConfigResourceType.TOPIC, topic, configs=TOPIC_CONFIGS) for topic in CONTRACTS]
                )
                # the client raises nothing here
                refused = {topic: result for topic, result in altered["topic"].items() if result != "OK"}
                if refused:
                    raise UserError(f"Kafka refuses the topics' configuration: {refused}")
            finally:
                admin.close()


def _topic_options(settings: Settings, topic: str) -> dict[str, Any]:
    return {
        # registry snapshots keep one order over all stations, so their topic has one partition
        "num_partitions": 1 if topic == STATION_REGISTRY.topic else settings.kafka_partitions,
        "replication_factor": -1,
    }
