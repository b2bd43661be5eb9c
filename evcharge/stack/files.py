"""Writes the servers' configuration files, which carry secrets."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

from evcharge.components import NATIVE


def write_from_template(template: str, target: Path, **values: object) -> None:
    """Writes `target` from a template in `deploy/native`. Raises KeyError if a value is missing."""
    write_private(target, Template((NATIVE / template).read_text()).substitute({k: str(v) for k, v in values.items()}))


def write_private(target: Path, text: str) -> None:
    """Writes a file that only its owner can read, completely or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(target)
