"""Reads a table file by its content: encoding, delimiter, gzip, spreadsheet. Every line becomes a row or a line of the report.

Text may be UTF-8 or UTF-16; cells may be divided by comma, semicolon, tab or bar. Spreadsheets are .xlsx, .xlsm, .xlsb, .xls
and .ods. What cannot be read is never left out silently: a row with too many or too few cells and a quote that does not close
come with their line, and the rows after them are read.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from evcharge.errors import UserError

DELIMITERS = ",;\t|"
#: The reasons of an unread row.
WRONG_COLUMN_COUNT = "WRONG_COLUMN_COUNT"
OPEN_QUOTE = "OPEN_QUOTE"
WRONG_QUOTE = "WRONG_QUOTE"

_GZIP = b"\x1f\x8b"
# A zip archive (.xlsx, .xlsm, .xlsb, .ods) and an OLE 2 file (.xls).
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The start of a file that decides encoding and delimiter.
_SAMPLE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
# The csv module takes cells of 128 kB; 100 columns of them are no row of a table.
_MAX_LINE_CHARS = 1 << 20
# In AFDC's downloads a cell has up to 79 lines.
_MAX_LINES_OF_A_ROW = 200


class TableError(UserError):
    """The file is not a table. One line with the file and the reason."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a row cannot be read: a code to count by, and what is wrong."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table whose header was read.

    `columns` are the names of the header without the blanks around them. `repeated` are the names that the header has more than
    once: the last of these columns is in the rows. `encoding` and `delimiter` are empty for a spreadsheet. `is_whole` is false
    if a text file ends within a line: it may have been cut short.
    """

    path: Path
    columns: tuple[str, ...]
    repeated: tuple[str, ...]
    encoding: str
    delimiter: str
    is_whole: bool

    def rows(self) -> Iterator[tuple[int, dict[str, str] | Unread]]:
        """The line and the cells by column of every row below the header that is not blank, from the start at each call.

        Lines count from 1 in the file; in a spreadsheet they are its rows. An Unread stands for a row that cannot be read.
        Raises TableError if the file is damaged.
        """
        records = _records(self)
        next(records, None)
        for line, cells in records:
            yield line, cells if isinstance(cells, Unread) else dict(zip(self.columns, cells, strict=True))


def open_table(path: Path, fallback_encoding: str | None = None) -> TableFile:
    """Opens a table. Text that is neither UTF-8 nor UTF-16 is read as `fallback_encoding`, and refused without one.

    Raises TableError with the reason; it names the line of a byte that is no text.
    """
    encoding, delimiter, is_whole = "", "", True
    with open_bytes(path) as raw:
        is_sheet = raw.read(len(_SPREADSHEETS[1])).startswith(_SPREADSHEETS)
    if not is_sheet:
        encoding, is_whole = _encoding(path, fallback_encoding)
        delimiter = _delimiter(path, encoding)
    table = TableFile(path, (), (), encoding, delimiter, is_whole)
    _, header = next(_records(table), (0, []))
    if isinstance(header, Unread):
        raise TableError(f"{path}: the header cannot be read: {header.detail}")
    names = tuple(header)
    repeated = tuple(dict.fromkeys(name for name in names if name and names.count(name) > 1))
    return TableFile(path, names, repeated, encoding, delimiter, is_whole)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's uncompressed content. A file is gzipped if it begins so. Raises TableError if it cannot be read."""
    try:
        with path.open("rb") as file:
            is_gzip = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if not is_gzip:
                yield file
                return
            with gzip.open(file) as content:
                yield cast("IO[bytes]", content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path}: damaged gzip ({error})") from None
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}") from None


def read_text(path: Path, fallback_encoding: str | None = None) -> str:
    """The whole text of a file that is no table, such as JSON. Raises TableError."""
    encoding, _ = _encoding(path, fallback_encoding)
    with open_bytes(path) as raw:
        return raw.read().decode(encoding, errors="replace")


def first_character(path: Path) -> str:
    """The first character that is not blank: `{` or `[` of JSON, `<` of HTML; empty for an empty file. Raises TableError."""
    with open_bytes(path) as raw:
        head = raw.read(_SAMPLE_BYTES)
    return head.decode(_marked(head) or _unmarked(head) or "latin-1", errors="replace").lstrip("\ufeff \t\r\n")[:1]


def _marked(head: bytes) -> str | None:
    """The encoding by the byte order mark."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def _unmarked(head: bytes) -> str | None:
    """The encoding by the places of zero bytes: text of Latin letters in UTF-16 has one in each pair. None: no text."""
    even, odd, pairs = head[::2].count(0), head[1::2].count(0), max(1, len(head) // 2)
    if not even and not odd:
        return "utf-8"
    # other scripts have no zero byte, but delimiters, digits and line ends have
    if min(even, odd) * 10 <= max(even, odd) and max(even, odd) * 10 >= pairs:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _encoding(path: Path, fallback: str | None) -> tuple[str, bool]:
    """The encoding of the whole file, and whether the file ends with a line."""
    with open_bytes(path) as raw:
        block = raw.read(_SAMPLE_BYTES)
        encoding = _marked(block) or _unmarked(block)
        if encoding is None:
            raise TableError(f"{path}: neither text nor a spreadsheet")
        decoder = codecs.getincrementaldecoder(encoding)()
        line, end = 1, "\n"
        while block:
            try:
                text = decoder.decode(block)
            except UnicodeDecodeError as error:
                if fallback is not None and encoding == "utf-8":
                    return fallback, _ends_with_line(path)
                line += error.object[: error.start].count(b"\n")
                raise TableError(
                    f"{path}: line {line}: byte 0x{error.object[error.start]:02X} is not {encoding.upper()}: save it as UTF-8"
                ) from None
            line += text.count("\n")
            end = text[-1:] or end
            block = raw.read(_BLOCK_BYTES)
        # a file that was cut within a character
        cut = bool(decoder.getstate()[0])
    return encoding, end in "\r\n" and not cut


def _ends_with_line(path: Path) -> bool:
    last = b"\n"
    with open_bytes(path) as raw:
        while block := raw.read(_BLOCK_BYTES):
            last = block[-1:]
    return last in b"\r\n"


@contextmanager
def _open_text(path: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    # Text was checked when the table was opened. Only a file that was cut within a character has a byte to replace.
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding, errors="replace", newline="") as text:
        yield text


def _delimiter(path: Path, encoding: str) -> str:
    """The delimiter that divides most lines of the start like the header; of two, the one that makes more columns."""
    with _open_text(path, encoding) as text:
        lines = [line for line in re.split("[\r\n]+", text.read(_SAMPLE_BYTES)) if line.strip()]
    if len(lines) > 1:
        # the last one may be cut
        lines.pop()
    scores = {}
    for delimiter in DELIMITERS:
        counts = [len(_cells_of(line, delimiter)) for line in lines]
        if counts and counts[0] > 1:
            scores[delimiter] = (counts.count(counts[0]), counts[0])
    best = [delimiter for delimiter in scores if scores[delimiter] == max(scores.values())]
    if len(best) > 1:
        raise TableError(f"{path}: line 1: {' or '.join(map(repr, best))} may divide the cells: use one of them")
    # a table of one column
    return best[0] if best else DELIMITERS[0]


def _cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line taken alone; none if one is longer than a cell can be."""
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _records(table: TableFile) -> Iterator[tuple[int, list[str] | Unread]]:
    """Line and cells of every record that is not blank: first the header's, trimmed, then those of its width."""
    width = 0
    for line, cells in _text_records(table) if table.delimiter else _sheet_records(table.path):
        if isinstance(cells, list):
            if not any(cell.strip() for cell in cells):
                continue
            if not width:
                width = len(cells)
                cells = [cell.strip() for cell in cells]
            elif len(cells) != width:
                # An empty cell too many is refused too: in a row that a stray delimiter shifted, the last cell often is empty.
                cells = Unread(WRONG_COLUMN_COUNT, f"{len(cells)} cells for {width} columns")
        yield line, cells


def _sheet_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a spreadsheet's only sheet that has any."""
    # imported here: most tables are text
    from python_calamine import CalamineError, SheetVisibleEnum, load_workbook

    with open_bytes(path) as raw:
        try:
            book = load_workbook(cast("Any", raw))
            visible = [sheet.name for sheet in book.sheets_metadata if sheet.visible is SheetVisibleEnum.Visible]
            sheets = [sheet for sheet in map(book.get_sheet_by_name, visible) if sheet.start]
        except CalamineError as error:
            raise TableError(f"{path}: not a spreadsheet that can be read ({error})") from None
    if len(sheets) > 1:
        names = ", ".join(sheet.name for sheet in sheets)
        raise TableError(f"{path}: {len(sheets)} sheets have rows ({names}): save the right one alone")
    width = 0
    for number, values in enumerate(sheets[0].iter_rows() if sheets else (), start=1):
        cells = [_cell(value) for value in values]
        # Sheets have no end of a row: cells are there as far as the longest row goes.
        while len(cells) > width and not cells[-1]:
            cells.pop()
        width = width or len(cells)
        yield number, cells


def _cell(value: Any) -> str:
    """A spreadsheet's value as a CSV would hold it. Sheets have no whole numbers, and their times have no zone."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


class _Lines:
    """The lines of a text, for a csv reader: it notes which lines a record took, and takes lines back."""

    def __init__(self, text: io.TextIOWrapper, path: Path, delimiter: str) -> None:
        self._text = text
        self._path = path
        self._delimiter = delimiter
        self._next_line = 1
        self._returned: deque[tuple[int, str]] = deque()
        self.taken: list[tuple[int, str]] = []
        self.width = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) > 1 and (self._is_row(self.taken[-1][1]) or len(self.taken) > _MAX_LINES_OF_A_ROW):
            # the quote is still open after a line that is a row
            raise csv.Error("open quote")
        if self._returned:
            self.taken.append(self._returned.popleft())
        else:
            line = self._text.readline(_MAX_LINE_CHARS)
            if len(line) == _MAX_LINE_CHARS:
                raise TableError(f"{self._path}: line {self._next_line} is longer than a row of a table can be")
            if not line:
                raise StopIteration
            self.taken.append((self._next_line, line))
            self._next_line += 1
        return self.taken[-1][1]

    def keep_first(self) -> None:
        """Takes back all lines of the record but the first."""
        self._returned.extendleft(reversed(self.taken[1:]))

    def took_rows(self) -> bool:
        """Whether a record of several lines is several rows: its first and its last line are, if the quotes mean nothing."""
        cells = _cells_of(self.taken[0][1], self._delimiter)
        first_width = len(cells) + sum(cell.count(self._delimiter) for cell in cells[-1:])
        return first_width == self.width and self._is_row(self.taken[-1][1])

    def _is_row(self, line: str) -> bool:
        return self.width > 1 and len(_cells_of(line, self._delimiter)) == self.width


def _text_records(table: TableFile) -> Iterator[tuple[int, list[str] | Unread]]:
    """The records of a text, each with its first line. Quoted cells may have several lines.

    A quote that does not close makes the csv module take all lines up to the next quote for one cell. Here such a record ends
    with its first line, and the other lines are read again, if a line within it is a row by itself or if the record as a whole
    has not the header's width.
    """
    with _open_text(table.path, table.encoding) as text:
        lines = _Lines(text, table.path, table.delimiter)
        reader = csv.reader(lines, delimiter=table.delimiter, skipinitialspace=True, strict=True)
        while True:
            lines.taken = []
            try:
                cells = next(reader, None)
            except csv.Error as error:
                line, first = lines.taken[0]
                yield line, _quote_error(first, table.delimiter, error)
                lines.keep_first()
                continue
            if cells is None:
                return
            line, first = lines.taken[0]
            if len(lines.taken) > 1 and lines.width and (len(cells) != lines.width or lines.took_rows()):
                yield line, _quote_error(first, table.delimiter, csv.Error())
                lines.keep_first()
                continue
            if line == 1 and re.fullmatch(r"sep=.", first.strip()):
                # Excel's own line before the header
                continue
            lines.width = lines.width or (len(cells) if any(cells) else 0)
            yield line, cells


def _quote_error(line: str, delimiter: str, error: csv.Error) -> Unread:
    """Whether the line leaves a quote open, or has something between a quote and the next delimiter."""
    try:
        list(csv.reader([line, f'"{delimiter}'], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return Unread(WRONG_QUOTE, f"not a row of cells ({error})")
    return Unread(OPEN_QUOTE, "a quote opens in this line and does not close before the next row")
