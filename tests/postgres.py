"""A Postgres of its own for tests, from the distribution's package, in a temporary folder and on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

READY_WITHIN_S = 60
#: Under root it runs as the user that the package makes: Postgres refuses to run as root.
_USER = "postgres"


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of an empty database. Fails if Postgres is not installed."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    assert programs, "Postgres is missing: sudo apt-get install -y postgresql"
    # not below pytest's folder, which is closed to other users
    folder = Path(tempfile.mkdtemp(prefix="evcharge-postgres-"))
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    data = folder / "data"
    initdb = [f"{programs}/initdb", "-D", str(data), "-U", "evcharge", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [f"{programs}/postgres", "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "fsync=off"],
            stdout=log,
            stderr=log,
            cwd=folder,
            **as_user,
        )
    try:
        ready = [f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + READY_WITHIN_S
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "Postgres does not answer"
            time.sleep(0.1)
        yield f"postgresql://evcharge@127.0.0.1:{port}/postgres"
    finally:
        # ends its sessions, too
        server.send_signal(signal.SIGINT)
        server.wait(READY_WITHIN_S)
        shutil.rmtree(folder)
