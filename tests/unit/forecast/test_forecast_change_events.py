"""Reading recorded changes: what is known when, and what becomes of rows that cannot be true."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from evcharge.errors import UserError
from evcharge.forecast.change_events import ChangeEvents, read_change_events

HEADER = "site,observed_at,available,total\n"


def read(folder: Path, text: str) -> ChangeEvents:
    file = folder / "events.csv"
    file.write_text(text)
    return read_change_events(file, "Europe/Berlin")


def seconds(*texts: str) -> np.ndarray:
    return np.array([int(np.datetime64(text, "s").astype(np.int64)) for text in texts], dtype=np.int64)


def test_sites_are_kept_apart_and_in_the_order_of_time(tmp_path: Path) -> None:
    rows = "b,2025-01-02T00:00:00Z,1,2\na,2025-01-01T10:00:00Z,0,2\nb,2025-01-01T00:00:00Z,2,2\n"
    found = read(tmp_path, HEADER + rows)
    assert [(site.site, site.available.tolist()) for site in found.sites] == [("a", [0]), ("b", [2, 1])]
    assert (found.rows, found.left_out.total()) == (3, 0)


def test_an_offset_is_heeded_and_no_offset_is_utc(tmp_path: Path) -> None:
    rows = "a,2025-01-01T10:00:00+02:00,0,2\na,2025-01-01 09:00:00,1,2\n"
    site = read(tmp_path, HEADER + rows).sites[0]
    assert site.at_s.tolist() == seconds("2025-01-01T08:00", "2025-01-01T09:00").tolist()


def test_gzip_another_delimiter_and_other_columns_are_read(tmp_path: Path) -> None:
    file = tmp_path / "events.csv.gz"
    file.write_bytes(gzip.compress(b"total;note;site;available;observed_at\n2;x;a;1;2025-01-01T00:00:00Z\n"))
    assert read_change_events(file).sites[0].available.tolist() == [1]


def test_of_two_changes_at_one_instant_the_last_row_stands(tmp_path: Path) -> None:
    site = read(tmp_path, HEADER + "a,2025-01-01T00:00:00Z,0,2\na,2025-01-01T00:00:00Z,2,2\n").sites[0]
    assert site.available.tolist() == [2]


@pytest.mark.parametrize(
    ("row", "reason", "says"),
    [
        ("a,yesterday,1,2", "BAD_TIME", "line 3: observed_at 'yesterday'"),
        ("a,1025-01-01T00:00:00Z,1,2", "BAD_TIME", "line 3"),
        ("a,2025-01-01T00:00:00Z,3,2", "MORE_FREE_THAN_ALL", "line 3: 3 of 2 points"),
        ("a,2025-01-01T00:00:00Z,-1,2", "BAD_COUNT", "line 3: available '-1'"),
        ("a,2025-01-01T00:00:00Z,1,many", "BAD_COUNT", "line 3: total 'many'"),
        ("a,2025-01-01T00:00:00Z,nan,2", "BAD_COUNT", "line 3"),
        (",2025-01-01T00:00:00Z,1,2", "NO_SITE", "line 3"),
        ("a,2025-01-01T00:00:00Z,1", "WRONG_COLUMN_COUNT", "line 3"),
    ],
)
def test_a_row_that_cannot_be_true_is_left_out_with_its_line(tmp_path: Path, row: str, reason: str, says: str) -> None:
    found = read(tmp_path, f"{HEADER}a,2024-12-01T00:00:00Z,1,2\n{row}\na,2025-02-01T00:00:00Z,2,2\n")
    assert found.left_out == {reason: 1}
    assert found.examples[0].startswith(says)
    assert found.sites[0].available.tolist() == [1, 2]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: no column available, total"):
        read(tmp_path, "site,observed_at\na,2025-01-01T00:00:00Z\n")
    with pytest.raises(UserError, match="no row can be read: line 2"):
        read(tmp_path, HEADER + "a,b,c,d\n")
    with pytest.raises(UserError, match="no rows below the header"):
        read(tmp_path, HEADER)
    with pytest.raises(UserError, match="no time zone"):
        read_change_events(tmp_path / "events.csv", "Europe/Nowhere")


def test_gaps_and_times_without_a_source_are_not_known(tmp_path: Path) -> None:
    rows = (
        "a,2025-01-01T00:00:00Z,1,2\n"
        "a,2025-01-02T00:00:00Z,,0\n"
        "a,2025-01-02T12:00:00Z,2,2\n"
        "a,2025-01-06T00:00:00Z,1,2\n"
        "a,2025-01-07T00:00:00Z,0,2\n"
    )
    site = read(tmp_path, HEADER + rows).sites[0]
    times = ("2024-12-31", "2025-01-01T12", "2025-01-02T06", "2025-01-03", "2025-01-06T12", "2025-01-07", "2025-01-08")
    assert site.known(seconds(*times)).tolist() == [False, True, False, False, True, True, False]
    assert not site.before(int(site.at_s[1])).known(seconds("2025-01-01T12")).any()
