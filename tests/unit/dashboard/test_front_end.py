"""The logic of the pages, by Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "dashboard" / "web"


@pytest.mark.slow
def test_logic_of_the_pages() -> None:
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules").exists():
        pytest.skip("needs Node and `npm ci` in dashboard/web")
    run = subprocess.run([node, "test.mjs"], cwd=WEB, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
