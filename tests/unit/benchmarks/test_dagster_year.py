"""What Dagster's files keep is found on a copy: the files themselves stay as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.dagster_history import executed, write
from benchmarks.dagster_pages import CONFIGURATION
from benchmarks.dagster_year import kept
from evcharge.settings import load_settings


@pytest.mark.slow
def test_more_runs_leave_more_logs_than_facts(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(CONFIGURATION.format(home=tmp_path))
    now = datetime.now(UTC)
    settings = load_settings(home=tmp_path, ingest_hours_from=(now - timedelta(days=2)).date().isoformat())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        templates = executed(instance, settings)
        before = kept(tmp_path, settings)
        write(tmp_path, templates, now - timedelta(hours=2), now, 60, logs=True)
        after = kept(tmp_path, settings)
        grown = [getattr(after, name) - getattr(before, name) for name in ("now", "without_logs", "without_runs")]
        # sixty runs in two hours: logs go first, then runs; the newest event of each partition stays
        assert grown[0] > grown[1] > grown[2]
        # the files themselves are as they were
        assert kept(tmp_path, settings) == after
        assert instance.get_runs_count() == 60 + len(templates)
