"""Which process goes first, as the operating system reports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from evcharge.priority import BACKGROUND, STREAM

AUTOGROUP = Path("/proc/self/autogroup")


def output_of(code: str, *, leads_session: bool) -> list[str]:
    program = (
        "import os\nfrom pathlib import Path\nfrom evcharge.priority import yield_to_others\n"
        f"{code}\nprint(os.nice(0))\nprint(Path('{AUTOGROUP}').read_text() if Path('{AUTOGROUP}').exists() else '')"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, start_new_session=leads_session, check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()


def test_a_process_yields_and_never_takes_it_back() -> None:
    niceness = output_of(f"yield_to_others({BACKGROUND}); yield_to_others({STREAM})", leads_session=False)[0]
    assert int(niceness) == max(BACKGROUND, os.nice(0))


def test_only_a_session_leader_yields_for_the_whole_session() -> None:
    # a kernel without autogroups, which share the processors among sessions, has no such file
    of_leader, of_us = (f"nice {STREAM}", AUTOGROUP.read_text().strip()) if AUTOGROUP.exists() else ("", "")
    assert output_of(f"yield_to_others({STREAM})", leads_session=True)[1].endswith(of_leader)
    assert output_of(f"yield_to_others({STREAM})", leads_session=False)[1] == of_us
