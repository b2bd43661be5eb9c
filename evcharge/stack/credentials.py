"""Generates the platform's credentials once, into a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable

from evcharge.settings import Settings, load_settings

_KEY_ALPHABET = string.ascii_uppercase + "234567"


def _password() -> str:
    # letters and digits only: these pass unquoted through properties, XML, URLs and env files
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(32))


def _access_key() -> str:
    """A key id in the shape of AWS's, which S3 clients accept everywhere."""
    return "AKIA" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16))


#: Every secret of `Settings` and what makes it.
GENERATORS: dict[str, Callable[[], str]] = {
    "kafka_password": _password,
    "minio_secret_key": _password,
    "lakefs_access_key": _access_key,
    "lakefs_secret_key": _password,
    "clickhouse_password": _password,
    "analyst_password": _password,
    "spark_token": _password,
    "elasticsearch_password": _password,
    "cassandra_password": _password,
    "mongodb_password": _password,
    "supervisor_password": _password,
}


def ensure_credentials(settings: Settings) -> Settings:
    """Writes the secrets that `settings.credentials_file` lacks, mode 0600, and returns the settings with them.

    A secret that is there is never changed: the servers' data depend on it.
    """
    path = settings.credentials_file
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = {line.partition("=")[0] for line in path.read_text().splitlines()} if path.exists() else set()
    missing = [name for name in GENERATORS if f"EVCHARGE_{name.upper()}" not in known]
    if missing:
        exclusive = os.O_EXCL if not known else 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | exclusive, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"EVCHARGE_{name.upper()}={GENERATORS[name]()}\n" for name in missing)
    return load_settings(**settings.model_dump(include=settings.model_fields_set - set(missing)))
