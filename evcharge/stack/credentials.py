"""Generates the platform's credentials once, into a file that only its owner can read."""

from __future__ import annotations

import os

from evcharge.settings import Settings, load_settings
from evcharge.stack.servers import EVERY
from evcharge.stack.servers.base import password

#: The setting of every secret, and what generates it.
GENERATORS = {name: generate for server in EVERY for name, generate in server.secrets.items()} | {
    "supervisor_password": password
}


def ensure_credentials(settings: Settings) -> Settings:
    """Writes the secrets that `settings.credentials_file` lacks, mode 0600, and returns the settings with them.

    A secret in the file never changes: the servers' data depend on it.
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
