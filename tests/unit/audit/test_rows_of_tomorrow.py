"""Rows of a day that has not begun are on main by right and in no table yet: that is no difference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from evcharge.audit.reconcile import _at_load
from evcharge.audit.session_rows import SCHEMA


@pytest.mark.parametrize(("days", "due"), [(-1, 1), (1, 0)])
def test_a_day_is_overdue_once_it_has_begun(days: int, due: int) -> None:
    at = datetime.now(UTC) + timedelta(days=days)
    row = ("st", int(at.timestamp() * 1000), "s-1", "s", True, 7_000, 0, 0, 5)
    finished = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True))], SCHEMA)
    compared, behind = _at_load(finished, {}, overdue={0: 6})
    assert (compared.num_rows, behind) == (due, [at.date()])
