"""Files that no other user of the machine may read or write: the servers' configuration, which has secrets, and sockets."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from evcharge.components import NATIVE

#: sun_path holds 108 bytes (unix(7)). supervisord first binds the name with its pid appended.
SOCKET_PATH_LIMIT = 90


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


@contextmanager
def private_files() -> Iterator[None]:
    """Meanwhile, what this process and its children create is their user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def socket_path(home: Path, name: str) -> Path:
    """The socket `name` in `home`; if that path is too long for a socket, one in a short folder of this home's own."""
    path = home / f"{name}.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"evcharge-{digest}" / path.name
