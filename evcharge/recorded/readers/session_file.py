"""A file of sessions: its rows, the format that its header shows, and how all values of a column say that it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import xxhash

from evcharge.recorded.readers import numbers, times
from evcharge.recorded.readers.acn import AcnApiFormat, AcnFormat
from evcharge.recorded.readers.epfl import EpflFormat
from evcharge.recorded.readers.fields import Forms, Row
from evcharge.recorded.readers.generic import GenericFormat
from evcharge.recorded.readers.mapped import MappedFormat
from evcharge.recorded.readers.model import ColumnError, Columns, RecordedSession, RecordingError, Site
from evcharge.table_files import TableError, TableFile, Unread, first_character, open_bytes, open_table, read_text


class Format(Protocol):
    """A file format: the columns of its header, and how a row becomes a session.

    `names` gives the column of a name, where the two differ. `parts` gives the columns of a date and of a time that are read as
    one. `times` and `numbers` name what is read as such. `usual_decimal` is the decimal sign of the format's description, if it
    has one. `site_power_kw` is the power that all EVSEs of the site share, None where it is unknown.
    """

    source: str
    columns: Columns
    names: Mapping[str, str]
    parts: Mapping[str, tuple[str, str]]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    times: tuple[str, ...]
    numbers: Mapping[str, numbers.Quantity]
    usual_decimal: str | None
    ignores_others: bool
    site_power_kw: float | None

    def session(self, row: Row) -> RecordedSession: ...

    def stations(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Table:
    """What a user says about a file, where the file does not show it. None: it does.

    `time_zone` is that of times without a zone. `columns` gives a table's column for each of mapped.NAMES. `day_first`: 07.11.
    is in November. `decimal` is `.` or `,`. `date_format` is a format of strptime, or times.EXCEL for day numbers.
    """

    time_zone: str | None = None
    columns: Mapping[str, str] | None = None
    day_first: bool | None = None
    decimal: str | None = None
    date_format: str | None = None


@dataclass(frozen=True)
class SessionFile:
    """A file with everything that decides how it is read. Two readings give the same sessions."""

    path: Path
    site: Site | None
    table: Table

    @cached_property
    def _file(self) -> TableFile | _Json:
        try:
            return _Json(self.path) if first_character(self.path) in ("{", "[") else open_table(self.path)
        except TableError as error:
            raise RecordingError(str(error)) from None

    @property
    def header(self) -> tuple[str, ...]:
        return self._file.columns

    def rows(self) -> Iterator[tuple[int, Mapping[str, str] | Unread]]:
        """Row number and cells by column of every row below the header that is not blank."""
        try:
            yield from self._file.rows()
        except TableError as error:
            raise RecordingError(str(error)) from None

    def digest(self) -> str:
        """Hash of the uncompressed content, the site and what the user says about the table, 16 hexadecimal digits."""
        state = xxhash.xxh3_64(repr(self.site).encode())
        if self.table != Table():
            state.update(repr(self.table).encode())
        with open_bytes(self.path) as raw:
            while block := raw.read(1 << 20):
                state.update(block)
        return state.hexdigest()

    def new_format(self) -> Format:
        """The format that shares most columns with the header. Raises RecordingError if the header is wrong."""
        names = self.header
        if not names:
            raise RecordingError(f"{self.path}: empty file")
        where = f"{self.path}: row 1"
        best = self._mapped(self.table.columns) if self.table.columns else self._known(where)
        for name in best.required:
            if name not in names:
                raise RecordingError(f"{where}: column {name!r} is missing (format {best.source})")
        for name in names:
            if name not in best.required and name not in best.optional and not best.ignores_others:
                raise RecordingError(f"{where}: column {name!r} is unknown (format {best.source})")
            if name in self._file.repeated and (name in best.required or name in best.optional):
                raise RecordingError(f"{where}: column {name!r} is there twice")
        return best

    def _known(self, where: str) -> Format:
        names, zone = set(self.header), self.table.time_zone
        formats: dict[str, Format] = {
            "ACN-Data export": AcnFormat(self.site, zone),
            "ACN-Data API": AcnApiFormat(self.site, zone),
            "EPFL": EpflFormat(self.site, zone),
            "generic": GenericFormat(zone),
        }
        shared = {name: len(names & {*each.required, *each.optional}) for name, each in formats.items()}
        most = max(shared.values())
        if not most:
            raise RecordingError(
                f"{where}: column {self.header[0]!r}: the header is none of the ACN-Data, EPFL and generic formats: "
                "name the columns with --columns"
            )
        nearest = [name for name in formats if shared[name] == most]
        whole = [name for name in nearest if names >= {*formats[name].required}]
        fitting = whole or nearest
        if len(fitting) > 1:
            lacking = (
                f"{name} lacks {', '.join(sorted({*formats[name].required} - names)) or 'none'}" for name in fitting
            )
            raise RecordingError(
                f"{where}: the header fits the formats {' and '.join(fitting)} alike ({'; '.join(lacking)}): "
                "name the columns with --columns"
            )
        best = formats[fitting[0]]
        if best.source == "generic" and self.site is not None:
            raise RecordingError(f"{self.path}: the generic format names its stations itself: leave --site-… out")
        return best

    def _mapped(self, mapping: Mapping[str, str]) -> Format:
        if self.site is not None and "station_id" in mapping:
            raise RecordingError(f"{self.path}: --columns names a station_id: leave it or --site-… out")
        return MappedFormat(mapping, self.header, self.table.time_zone, self.site)

    @cached_property
    def forms(self) -> Forms:
        """How to read the columns, decided from all of their values. Raises RecordingError for a column that cannot be."""
        best = self.new_format()
        forms = Forms(best.names, best.parts)
        here = {*self.header, *forms.parts}
        as_numbers = [
            numbers.NumberColumn(forms.column(name), quantity)
            for name, quantity in best.numbers.items()
            if forms.column(name) in here
        ]
        as_times = [times.TimeColumn(forms.column(name)) for name in best.times]
        columns: list[numbers.NumberColumn | times.TimeColumn] = [*as_numbers, *as_times]
        for number, cells in self.rows():
            if not isinstance(cells, Unread):
                for column in columns:
                    column.observe(number, forms.value(cells, column.name))
        try:
            return Forms(
                forms.columns,
                forms.parts,
                numbers.decide(as_numbers, self.table.decimal, best.usual_decimal, typed=not self._file.delimiter),
                times.decide(as_times, self.table.day_first, self.table.date_format),
            )
        except ColumnError as error:
            raise RecordingError(f"{self.path}: row {error.number}: column {error.column!r}: {error}") from None


class _Json:
    """The items of ACN-Data's `_items`, or of a bare list, as a table. A value that an item lacks is empty."""

    delimiter = ""
    repeated: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = tuple(dict.fromkeys(chain.from_iterable(self._items())))

    def rows(self) -> Iterator[tuple[int, dict[str, str] | Unread]]:
        for number, item in enumerate(self._items(), start=1):
            yield number, {name: _text(item.get(name)) for name in self.columns}

    def _items(self) -> list[dict[str, Any]]:
        path = self._path
        try:
            content = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise RecordingError(f"{path}: row {error.lineno}: column {error.colno}: not JSON ({error.msg})") from None
        items = content.get("_items") if isinstance(content, dict) else content
        if not isinstance(items, list):
            raise RecordingError(f"{path}: neither a list of sessions nor an object with the list '_items'")
        for number, item in enumerate(items, start=1):
            if not isinstance(item, dict):
                raise RecordingError(f"{path}: row {number}: not a session but {json.dumps(item)[:40]}")
        return items


def _text(value: Any) -> str:
    """A JSON value as a CSV would hold it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
