"""Which process goes first, asked of the operating system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from evcharge.priority import BACKGROUND, STREAM

AUTOGROUP = Path("/proc/self/autogroup")


def told(code: str, *, leads_session: bool) -> list[str]:
    program = (
        "import os\nfrom pathlib import Path\nfrom evcharge.priority import yield_to_others\n"
        f"{code}\nprint(os.nice(0))\nprint(Path('{AUTOGROUP}').read_text() if Path('{AUTOGROUP}').exists() else '')"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, start_new_session=leads_session, check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()


def test_a_process_yields_and_never_takes_it_back() -> None:
    niceness = told(f"yield_to_others({BACKGROUND}); yield_to_others({STREAM})", leads_session=False)[0]
    assert int(niceness) == max(BACKGROUND, os.nice(0))


def test_who_leads_a_session_yields_for_all_of_it_and_nobody_else_does() -> None:
    # a kernel that does not share the processors out among sessions has no such file
    of_leader, of_us = (f"nice {STREAM}", AUTOGROUP.read_text().strip()) if AUTOGROUP.exists() else ("", "")
    assert told(f"yield_to_others({STREAM})", leads_session=True)[1].endswith(of_leader)
    assert told(f"yield_to_others({STREAM})", leads_session=False)[1] == of_us
