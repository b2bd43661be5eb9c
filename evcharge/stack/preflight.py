"""Checks the machine before anything is downloaded or started: can the stack run here, and what is still missing?"""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from evcharge.components import Build, Component, Go, Maven, Npm
from evcharge.disk import free_bytes
from evcharge.settings import Settings, stack_file
from evcharge.stack.errors import StackError
from evcharge.stack.programs import git_command, go_command, maven_command, npm_command, setpriv_command
from evcharge.stack.servers import EVERY, components, definitions, in_profile
from evcharge.stack.servers.base import Server
from evcharge.stack.supervisor import Supervisor

#: By profile: all servers under load, with Spark's Python workers and the stream's own Spark driver.
MEMORY_WANTED_MB = {"full": 9_500, "small": 6_000}
#: By profile: all servers started and hardly used.
MEMORY_NEEDED_MB = {"full": 6_500, "small": 3_500}
#: By profile: a day of simulated charging in every store, with logs.
DATA_DISK_MB = {"full": 3_000, "small": 2_000}
#: Between the port offsets that are suggested if ports are taken.
OFFSET_STEP = 1_000

#: Which server listens on each port of stack.toml.
PORT_OWNERS = {port: server.name for server in EVERY for port in server.ports}
#: What fetches or builds a component, by its source.
_FETCHED_WITH: dict[type[Maven | Go | Npm | Build], tuple[str, Callable[[], object]]] = {
    Maven: ("maven", maven_command),
    Go: ("go", go_command),
    Npm: ("npm", npm_command),
    Build: ("npm", npm_command),
}


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """One line of the preflight; `remedy` is what to do about it, empty if nothing."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def preflight(settings: Settings) -> list[Check]:
    """Every check, the most important first. Downloads nothing and starts nothing."""
    servers = in_profile(settings)
    own = {name: server for name, server in servers.items() if not server.external}
    running = {name for name, process in Supervisor(settings).processes().items() if process.pid}
    needed = dict.fromkeys(component for name, component in components().items() if name in own)
    missing = [component for component in needed if not component.is_cached(settings.cache)]
    return [
        check_architecture(platform.system(), platform.machine(), "clickhouse" in own),
        check_memory(available_memory_mb(), bool(running), settings.profile),
        check_disk(settings, missing),
        check_ports(settings, set(own), running),
        *(_program(what, find) for what, find in _programs(own.values(), missing).items()),
        check_downloads(missing),
        *(
            Check(name, Verdict.NOTE, "external: its address is set, so it is used and not started")
            for name, server in servers.items()
            if server.external
        ),
        *(Check(name, Verdict.NOTE, f"stand-in: {own[name].stand_in}") for name in own if own[name].stand_in),
    ]


def require(checks: list[Check]) -> None:
    """Raises StackError if something is missing. The message names everything missing and the remedies."""
    missing = [check for check in checks if check.verdict == Verdict.MISSING]
    if missing:
        lines = [f"  {c.what}: {c.found}" + (f"\n    -> {c.remedy}" if c.remedy else "") for c in missing]
        raise StackError("this machine is not ready:\n" + "\n".join(lines))


def check_architecture(system: str, machine: str, engine_needed: bool) -> Check:
    """ClickHouse's library exists for Linux on x86_64 only. The other servers run on any Linux."""
    found = f"{system} {machine}"
    if system != "Linux":
        return Check(
            "architecture",
            Verdict.MISSING,
            f"{found}; the native stack needs Linux",
            "set the addresses of servers elsewhere",
        )
    if engine_needed and machine != "x86_64":
        remedy = "set EVCHARGE_CLICKHOUSE_HOST to a ClickHouse server"
        return Check("architecture", Verdict.MISSING, f"{found}; ClickHouse's library is for x86_64", remedy)
    return Check("architecture", Verdict.OK, found)


def check_memory(available_mb: int, running: bool, profile: str) -> Check:
    """The machine has enough memory for the profile's servers. If they run, they have it already."""
    found = f"{available_mb / 1000:.1f} GB available"
    if running or available_mb >= MEMORY_WANTED_MB[profile]:
        return Check("memory", Verdict.OK, found + (" beside the running servers" if running else ""))
    wanted = f"{found}; {MEMORY_WANTED_MB[profile] / 1000:g} GB are wanted"
    smaller = f", or `make up PROFILE=small` ({MEMORY_WANTED_MB['small'] / 1000:g} GB)" if profile == "full" else ""
    remedy = f"free memory{smaller}, or set the address of a server elsewhere (`evcharge settings`)"
    enough = available_mb >= MEMORY_NEEDED_MB[profile]
    return Check("memory", Verdict.NOTE if enough else Verdict.MISSING, wanted, remedy)


def check_disk(settings: Settings, missing: list[Component]) -> Check:
    """The disks have room for what is missing in the cache and for the data."""
    first = stack_file()["first_start"]
    needs = {
        settings.cache: sum(int(first[c.name]["disk_mb"]) for c in missing),
        settings.home: DATA_DISK_MB[settings.profile],
    }
    found = []
    for folder, need_mb in needs.items():
        free_mb = free_bytes(folder) // 1_000_000
        found.append(f"{free_mb / 1000:.0f} GB free at {folder}")
        if free_mb < need_mb:
            variable = "EVCHARGE_CACHE" if folder == settings.cache else "EVCHARGE_HOME"
            return Check(
                *("disk", Verdict.MISSING, f"{found[-1]}; {need_mb / 1000:.1f} GB are needed"),
                f"free some, or set {variable} to a folder on another disk",
            )
    return Check("disk", Verdict.OK, ", ".join(found))


def _port(server: Server, name: str) -> int:
    """Where a server listens: on the port of stack.toml, or on the one that the user set for its only one."""
    return server.port if len(server.ports) == 1 and server.port else server.settings.port(name)


def check_ports(settings: Settings, own: set[str], running: set[str]) -> Check:
    """Every port of a server that would be started is free."""
    names = [name for name in stack_file()["ports"] if PORT_OWNERS[name] in own - running]
    servers = definitions(settings)
    ports_of = {name: _port(servers[PORT_OWNERS[name]], name) for name in names}
    taken = {name: port for name, port in ports_of.items() if not _is_free(port)}
    if not taken:
        ports = sorted(settings.port(name) for name in stack_file()["ports"])
        return Check("ports", Verdict.OK, f"{ports[0]}-{ports[-1]} on 127.0.0.1" + (", ours" if running else ", free"))
    listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
    offset = free_offset(settings.port_offset + OFFSET_STEP)
    return Check(
        "ports", Verdict.MISSING, f"taken by another program: {listed}", f"export EVCHARGE_PORT_OFFSET={offset}"
    )


def check_downloads(missing: list[Component]) -> Check:
    """What the first start will fetch and build, and how long that takes."""
    if not missing:
        return Check("downloads", Verdict.OK, "nothing to download or build, everything is in the cache")
    first = stack_file()["first_start"]
    size_mb = sum(float(first[c.name]["download_mb"]) for c in missing)
    minutes = sum(float(first[c.name]["minutes"]) for c in missing)
    names = ", ".join(c.name for c in missing)
    return Check(
        "downloads", Verdict.NOTE, f"{size_mb:.0f} MB, about {max(minutes, 1):.0f} minutes, once per user: {names}"
    )


def available_memory_mb() -> int:
    """MemAvailable of /proc/meminfo, which is in kB (proc(5)); 0 where there is none."""
    path = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text() if path.exists() else "", re.MULTILINE)
    return int(found[1]) * 1024 // 1_000_000 if found else 0


def free_offset(start: int) -> int:
    """The first port offset, from `start` in steps of OFFSET_STEP, at which every port of stack.toml is free."""
    ports = stack_file()["ports"].values()
    for offset in range(start, 40_000, OFFSET_STEP):
        if all(_is_free(port + offset) for port in ports):
            return offset
    raise StackError("no port offset below 40000 has all ports free")


def _programs(own: Iterable[Server], missing: list[Component]) -> dict[str, Callable[[], object]]:
    """What the servers run on, then what fetches the missing components."""
    programs: dict[str, Callable[[], object]] = {"git": git_command}
    if not os.getuid():
        programs["setpriv"] = setpriv_command
    for server in own:
        programs |= server.programs
    return programs | dict(_FETCHED_WITH[type(component.source)] for component in missing)


def _program(what: str, find: Callable[[], object]) -> Check:
    try:
        found = find()
    except StackError as error:
        problem, _, remedy = str(error).rpartition(": ")
        return Check(what, Verdict.MISSING, problem, remedy)
    return Check(what, Verdict.OK, " ".join(found) if isinstance(found, list) else str(found))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # servers set it too: a port in TIME_WAIT counts as free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
