"""Runs the servers under supervisord: writes its configuration, starts it, calls it over its socket."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from evcharge.memory import ENVIRONMENT as GIVING_BACK
from evcharge.settings import Settings
from evcharge.stack.errors import StackError
from evcharge.stack.files import socket_path, write_private
from evcharge.stack.programs import unprivileged
from evcharge.stack.servers import definitions, in_profile
from evcharge.stack.servers.base import SERVER_USER_ID, Server

_USER = "evcharge"
_START_TIMEOUT_S = 15
#: Without end in practice: supervisord waits a second longer after each, so an hour has 85, and a day 415. A server that ended
#: on a full disk is back some minutes after there is room.
START_TRIES = 1_000_000
#: supervisord's words for a process that does not run
_ENDED = ("STOPPED", "EXITED", "FATAL")


@dataclass(frozen=True)
class Process:
    """What supervisord knows about a server. `state` is one of its words: RUNNING, STOPPED, BACKOFF, FATAL, …"""

    name: str
    state: str
    pid: int
    problem: str


class Supervisor:
    """One platform's supervisord."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.configuration = settings.home / "supervisord.conf"
        self.socket = socket_path(settings.home, "supervisor")

    def write_configuration(self) -> None:
        """Writes supervisord.conf (mode 0600: it contains the servers' secrets)."""
        write_private(self.configuration, render(self.settings, self.socket, in_profile(self.settings).values()))

    def is_running(self) -> bool:
        try:
            self._call("getState")
        except StackError:
            return False
        return True

    def ensure_running(self) -> None:
        """Starts supervisord. If it runs, it reads the present configuration."""
        if self.is_running():
            self._update()
            return
        _private_folder(self.socket.parent)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)]
        # without compiled modules each process compiles all it imports: Dagster's took 8 s of processor time instead of 3
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_TIMEOUT_S, cwd="/", env=environment
        )
        if done.returncode:
            raise StackError(f"supervisord does not start: {(done.stderr or done.stdout).strip()[-500:]}")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.is_running():
            if time.monotonic() > deadline:
                raise StackError(f"supervisord does not answer; its log: {self.settings.log_dir / 'supervisord.log'}")
            time.sleep(0.1)

    def processes(self) -> dict[str, Process]:
        """Every supervised server by name; empty if supervisord does not run."""
        if not self.is_running():
            return {}
        return {
            info["name"]: Process(info["name"], info["statename"], info["pid"], info["spawnerr"])
            for info in self._call("getAllProcessInfo")
        }

    def start(self, name: str) -> None:
        """Starts a server, without waiting for its next try; nothing happens if it runs."""
        if (process := self.processes().get(name)) and process.state == "BACKOFF":
            self._call("stopProcess", name, ignore=(Faults.NOT_RUNNING,))
        self._call("startProcess", name, False, ignore=(Faults.ALREADY_STARTED,))

    def stop_together(self, names: Iterable[str], report: Callable[[str, str], None]) -> None:
        """Stops servers at the same time and waits until all have ended. Ignores those that do not run."""
        known = self.processes()
        waiting = {name for name in names if name in known}
        for name in sorted(waiting):
            report(name, "stopping")
            self._call("stopProcess", name, False, ignore=(Faults.NOT_RUNNING,))
        # supervisord kills what does not stop in its time, so this ends
        while waiting:
            for name, process in self.processes().items():
                if name in waiting and process.state in _ENDED:
                    report(name, "stopped")
                    waiting.discard(name)
            time.sleep(0.1)

    def shutdown(self) -> None:
        """Ends supervisord with everything that still runs under it, and waits until it is gone."""
        if not self.is_running():
            return
        pid = self._call("getPID")
        self._call("shutdown")
        limit_s = sum(server.stop_within_s for server in definitions(self.settings).values()) + 10
        deadline = time.monotonic() + limit_s
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                raise StackError(f"supervisord (pid {pid}) did not stop within {limit_s} s")
            time.sleep(0.1)
        if self.socket.parent != self.settings.home:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def _update(self) -> None:
        """Stops the servers whose definition changed or is gone. Adds the changed and the new ones, not started."""
        added, changed, removed = self._call("reloadConfig")[0]
        for name in changed + removed:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in added + changed:
            self._call("addProcessGroup", name)

    def _call(self, method: str, *arguments: Any, ignore: tuple[int, ...] = ()) -> Any:
        transport = SupervisorTransport(
            _USER, self.settings.supervisor_password.get_secret_value(), f"unix://{self.socket}"
        )
        server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in ignore:
                return None
            raise StackError(f"supervisord: {method}{arguments}: {fault.faultString}") from None
        except xmlrpc.client.ProtocolError as error:
            raise StackError(f"supervisord at {self.socket}: {error.errcode} {error.errmsg}") from None
        except OSError as error:
            raise StackError(f"supervisord does not answer at {self.socket}: {error}") from None
        finally:
            transport.close()


def render(settings: Settings, socket: Path, servers: Iterable[Server]) -> str:
    """The text of supervisord.conf."""
    password = settings.supervisor_password.get_secret_value()
    sections = [
        f"""[supervisord]
logfile = {settings.log_dir}/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {settings.home}/supervisord.pid
childlogdir = {settings.log_dir}
umask = 077

[unix_http_server]
file = {socket}
chmod = 0700
username = {_USER}
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
""".replace("%", "%%")
    ]
    for priority, server in enumerate(servers):
        if not server.external:
            sections.append(_program(server, priority))
    return "\n".join(sections)


def _program(server: Server, priority: int) -> str:
    # a changed configuration file changes this variable, and supervisord then restarts the server
    environment = GIVING_BACK | server.environment | {"CONFIGURATION_DIGEST": server.digest()}
    pairs = ",".join(f'{name}="{_plain(value)}"' for name, value in environment.items())
    yielding = ("nice", "-n", str(server.niceness)) if server.niceness else ()
    as_user = unprivileged(SERVER_USER_ID) if server.unprivileged else ()
    return f"""[program:{server.name}]
command = {" ".join(f'"{_plain(part)}"' for part in (*yielding, *as_user, *server.command))}
directory = {server.working_directory}
environment = {pairs}
priority = {priority}
autostart = false
autorestart = {"true" if server.restarts_after_success else "unexpected"}
startsecs = 2
startretries = {START_TRIES}
stopsignal = TERM
stopwaitsecs = {server.stop_within_s}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {server.settings.log_dir}/{server.name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
""".replace("%", "%%")


def _plain(value: str) -> str:
    """`value`, if it can stand between double quotes in supervisord.conf."""
    if '"' in value or "\n" in value:
        raise StackError(f"a setting of the stack may contain neither quotes nor line breaks: {value!r}")
    return value


def _private_folder(folder: Path) -> None:
    """Creates `folder` if it is missing. Raises StackError if it is not ours or if others can write to it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise StackError(f"{folder} must belong to you and be writable by nobody else")
