"""What a server is. Each server of the platform is a subclass, in a file of its own beside this one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import string
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import choice
from typing import ClassVar

from evcharge.components import Component
from evcharge.settings import PROJECT, Settings

#: Under root, the servers run as this user and group, which need no entry anywhere.
SERVER_USER_ID = 9200


@dataclass(frozen=True)
class Server:
    """A server on the platform of `settings`. A subclass gives its facts and overrides what is not the default.

    A server is external if its address is set. Then it is only probed and bootstrapped: it is not fetched, prepared,
    started or stopped.
    """

    settings: Settings

    name: ClassVar[str]
    version: ClassVar[str]
    #: Its ports' names in stack.toml.
    ports: ClassVar[tuple[str, ...]] = ()
    #: The settings that hold its secrets, and what generates each.
    secrets: ClassVar[Mapping[str, Callable[[], str]]] = {}
    #: What is fetched or built for it; None if Python's environment has it.
    component: ClassVar[Component | None] = None
    #: The programs that it runs on, and what finds each. The finder raises StackError if the program is missing.
    programs: ClassVar[Mapping[str, Callable[[], object]]] = {}
    #: Its configuration files, below `folder`. A changed file restarts the server.
    configuration: ClassVar[tuple[str, ...]] = ()
    #: The servers that must be healthy before this one starts, if they are started together.
    after: ClassVar[tuple[str, ...]] = ()
    #: It starts before the others, because it takes long and nothing waits for it.
    starts_early: ClassVar[bool] = False
    #: It starts when a user asks for it, not with the platform.
    on_demand: ClassVar[bool] = False
    #: The live map needs it, so it comes before what is built for minutes.
    first_look: ClassVar[bool] = False
    #: Whether the supervisor starts it again although it ended by itself without an error.
    restarts_after_success: ClassVar[bool] = True
    stop_within_s: ClassVar[int] = 20
    #: Under root it runs as SERVER_USER_ID.
    unprivileged: ClassVar[bool] = False
    #: As `nice` takes it. While all processors are busy, a server with a higher value gets less of them.
    niceness: ClassVar[int] = 0
    #: What a small platform lacks, because only a full one runs this server. Empty if every platform runs it.
    lacking: ClassVar[str] = ""
    #: Shown beside its status.
    note: ClassVar[str] = ""
    #: What stands in for the real server, and how to use a real one; shown by the preflight.
    stand_in: ClassVar[str] = ""

    @property
    def external(self) -> bool:
        return self.settings.is_external(self.name)

    @property
    def address(self) -> str:
        """Where its clients reach it: a URL or host:port; empty if it does not listen."""
        return ""

    @property
    def port(self) -> int:
        """The port in `address`; 0 if there is none."""
        port = self.address.rpartition(":")[2].rstrip("/")
        return int(port) if port.isdigit() else 0

    @property
    def command(self) -> tuple[str, ...]:
        """The command that runs it in the foreground."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        """Its environment variables, beside those of supervisord."""
        return {}

    @property
    def folder(self) -> Path:
        """The server's own folder: its configuration and its data."""
        return self.settings.home / self.name

    @property
    def working_directory(self) -> Path:
        return self.folder

    @property
    def program(self) -> Path:
        """The fetched component's result: a program, a library or a folder of jars."""
        assert self.component, f"{self.name} has no component"
        return self.component.path(self.settings.cache)

    def prepare(self) -> None:
        """Writes its configuration; formats its storage if that is new."""

    def take_along(self, report: Callable[[str], None]) -> None:
        """Brings what an older version left into its present form. It is called before each start."""

    def probe(self) -> None:
        """Returns if the server is healthy and raises otherwise. The user reads the exception's text."""

    def bootstrap(self) -> None:
        """Creates what the platform needs on the running server. What exists stays as it is."""

    def give_away(self) -> None:
        """Under root, makes the server's user the owner of its folder and of all that was written there."""
        if os.getuid() or not self.unprivileged:
            return
        new = [self.folder / name for name in self.configuration]
        # the folder itself comes last, so that one that is given away in part is walked again
        if self.folder.stat().st_uid != SERVER_USER_ID:
            new = [Path(parent) / name for parent, folders, files in os.walk(self.folder) for name in folders + files]
        for path in (*new, self.folder):
            # a running server's files come and go
            with contextlib.suppress(FileNotFoundError):
                os.chown(path, SERVER_USER_ID, SERVER_USER_ID, follow_symlinks=False)

    def digest(self) -> str:
        """A hash over the configuration files: 12 hexadecimal digits."""
        files = [self.folder / name for name in self.configuration if (self.folder / name).exists()]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class ProjectProcess(Server):
    """A process that runs the project's own code, from the project's folder."""

    @property
    def working_directory(self) -> Path:
        return PROJECT


def project_environment(settings: Settings) -> dict[str, str]:
    """The variables that the project's code needs in a process of its own: which platform, and Spark's token."""
    return {
        "EVCHARGE_HOME": str(settings.home),
        "EVCHARGE_PORT_OFFSET": str(settings.port_offset),
        "EVCHARGE_PROFILE": settings.profile,
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": settings.spark_token.get_secret_value(),
    }


def around_full_disk(what: str, folder: Path) -> tuple[str, ...]:
    """What stands before a program's command: see `evcharge.stack.full_disk`."""
    return (sys.executable, "-m", "evcharge.stack.full_disk", what, str(folder))


def password() -> str:
    """A new password of 32 characters."""
    # letters and digits only: properties, XML, URLs and env files take them without quotes
    alphabet = string.ascii_letters + string.digits
    return "".join(choice(alphabet) for _ in range(32))


def derived_key(secret: str, purpose: str) -> str:
    """A key for one purpose (64 hexadecimal digits), so that the credentials need only one secret."""
    return hashlib.sha256(f"{purpose}:{secret}".encode()).hexdigest()
