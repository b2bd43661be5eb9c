"""Table files as people save them: every line is a row or is reported with its line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import tracemalloc
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spreadsheets import Cell, write_xlsx

from evcharge.table_files import TableError, TableFile, Unread, first_character, open_table, read_text

ROWS = "id,name,city,note\n1,Café,Zürich,a\n2,Øst,Århus,b\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table"


def write(path: Path, text: str, encoding: str = "utf-8") -> TableFile:
    path.write_bytes(text.encode(encoding))
    return open_table(path)


def names(table: TableFile) -> dict[int, str]:
    """The `name` of each row that can be read, by line."""
    return {line: row["name"] for line, row in table.rows() if not isinstance(row, Unread)}


def unread(table: TableFile) -> dict[int, str]:
    return {line: row.reason for line, row in table.rows() if isinstance(row, Unread)}


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode(),
        ROWS.encode("utf-8-sig"),
        ROWS.encode("utf-16"),
        codecs.BOM_UTF16_BE + ROWS.encode("utf-16-be"),
        ROWS.encode("utf-16-le"),
        ROWS.encode("utf-16-be"),
        ROWS.encode("utf-32"),
        gzip.compress(ROWS.encode(), mtime=0),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\r").encode(),
        ROWS.replace(",", ";").encode(),
        ROWS.replace(",", "\t").encode("utf-16"),
        ROWS.replace(",", "|").encode(),
        f"sep=;\n{ROWS.replace(',', ';')}".encode(),
        f"\n \n{ROWS}".encode(),
        ROWS.replace(",", ", ").encode(),
        b" id ,\tname , city,note\n1,Caf\xc3\xa9,x,y\n2,\xc3\x98st,x,y\n",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_encoding_and_delimiter_are_found_by_content(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    table = open_table(path)
    assert table.columns == ("id", "name", "city", "note")
    assert [*names(table).values()] == ["Café", "Øst"]
    assert not unread(table)


def test_text_of_one_byte_is_refused_with_its_line_or_read_as_stated(path: Path) -> None:
    path.write_bytes(b"id,name\n1,a\n2,Caf\xe9\n")
    with pytest.raises(TableError, match="line 3: byte 0xE9 is not UTF-8"):
        open_table(path)
    assert names(open_table(path, "cp1252")) == {2: "a", 3: "Café"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\0\1\2\3\0\0\0\0", "neither text nor a spreadsheet"),
        (gzip.compress(ROWS.encode() * 100, mtime=0)[:60], "damaged gzip"),
        (b"PK\x03\x04not a workbook", "not a spreadsheet"),
        (b"x" * (1 << 21), "line 1 is longer than a row"),
        (b"a,b;c\n1,2;3\n", "',' or ';' may divide the cells"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(TableError, match=says) as error:
        [*open_table(path).rows()]
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        open_table(path)


def test_decimal_commas_do_not_divide_the_cells(path: Path) -> None:
    table = write(path, "id;energy (kWh, net);name\n1;1,5;a\n2;2,5;b\n")
    assert table.columns == ("id", "energy (kWh, net)", "name")
    assert names(table) == {2: "a", 3: "b"}


def test_rows_of_another_width_are_reported_and_the_others_read(path: Path) -> None:
    table = write(path, "id,name,city,note\n1,a,x,\n2,b, Inc.,x,\n3,c\n4,d,x,\n")
    assert names(table) == {2: "a", 5: "d"}
    assert unread(table) == {3: "WRONG_COLUMN_COUNT", 4: "WRONG_COLUMN_COUNT"}


@pytest.mark.parametrize(
    ("text", "read", "lost"),
    [
        # up to the end of the file
        ('1,a,x,\n2,"b,x,\n3,c,x,\n', {2: "a", 4: "c"}, {3: "OPEN_QUOTE"}),
        ('1,a,x,\n2,"b,x,\n', {2: "a"}, {3: "OPEN_QUOTE"}),
        # up to the next quote, which opens a cell itself
        (
            '1,a,x,\n2,"b,x,\n3,c,x,\n4,"d, Inc.",x,\n5,e,x,\n',
            {2: "a", 4: "c", 5: "d, Inc.", 6: "e"},
            {3: "OPEN_QUOTE"},
        ),
        ('2,"b,x,\n4,"d",x,\n5,e,x,\n', {3: "d", 4: "e"}, {2: "OPEN_QUOTE"}),
        ('2,b,x,"\n4,"d",x,\n5,e,x,\n', {3: "d", 4: "e"}, {2: "OPEN_QUOTE"}),
        # up to a stray quote that makes a row of the right width
        ('2,"b,x,\n3,c,x,\n4,d",x,\n5,e,x,\n', {3: "c", 4: 'd"', 5: "e"}, {2: "OPEN_QUOTE"}),
        ('2,"b,x,\n4,d",x,\n5,e,x,\n', {3: 'd"', 4: "e"}, {2: "OPEN_QUOTE"}),
        # two rows with open quotes
        ('1,"a,x,\n2,"b,x,\n3,c,x,\n', {4: "c"}, {2: "OPEN_QUOTE", 3: "OPEN_QUOTE"}),
        # text after a quote
        ('1,"a" b,x,\n2,b,x,\n', {3: "b"}, {2: "WRONG_QUOTE"}),
        # every cell is quoted, and one quote is lost
        ('"1","a","x",""\n"2","b,"x",""\n"3","c","x",""\n', {2: "a", 4: "c"}, {3: "WRONG_QUOTE"}),
        ('"1","a","x",""\n"2","b","x","\n"3","c","x",""\n', {2: "a", 4: "c"}, {3: "OPEN_QUOTE"}),
    ],
)
def test_an_open_quote_swallows_no_row(path: Path, text: str, read: dict[int, str], lost: dict[int, str]) -> None:
    table = write(path, "id,name,city,note\n" + text)
    assert names(table) == read
    assert unread(table) == lost


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('1,"a\nb",x,\n2,c,x,\n', {2: "a\nb", 4: "c"}),
        ('"1\n2",a,x,\n2,c,x,\n', {2: "a", 4: "c"}),
        ('1,a,x,"by the door,\n\nthen left, right"\n2,c,x,\n', {2: "a", 5: "c"}),
        ('1,"say ""a"", then\nb",x,"y\nz"\n2,5" pipe,x,\n', {2: 'say "a", then\nb', 5: '5" pipe'}),
    ],
)
def test_cells_of_several_lines_are_read(path: Path, text: str, read: dict[int, str]) -> None:
    table = write(path, "id,name,city,note\n" + text)
    assert names(table) == read
    assert not unread(table)


@pytest.mark.slow
@given(
    st.lists(
        # commas and line ends in one cell may look like a row
        st.lists(st.text("ab,; \"'\t", max_size=6) | st.text("ab; \n\"'\t", max_size=6), min_size=4, max_size=4),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 400),
)
def test_one_stray_quote_loses_no_id_silently(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], place: int
) -> None:
    """Well-formed rows whose cells begin and end with letters; a quote is put anywhere."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "name", "city", "note", "more"])
    for number, cells in enumerate(rows):
        writer.writerow([f"id{number}", *(f"c{cell.strip()}c" for cell in cells)])
    text = out.getvalue()
    header = text.index("\n") + 1
    at = header + place % (len(text) - header)
    path = tmp_path_factory.mktemp("quotes") / "t.csv"
    table = write(path, text)
    assert [row["id"] for _, row in table.rows() if not isinstance(row, Unread)] == [
        f"id{number}" for number in range(len(rows))
    ]
    table = write(path, text[:at] + '"' + text[at:])
    ids = [row["id"] for _, row in table.rows() if not isinstance(row, Unread)]
    assert unread(table) or len(ids) == len(rows)


def test_repeated_and_nameless_columns_are_reported(path: Path) -> None:
    table = write(path, "id,name,id,,\n1,a,2,x,y\n")
    assert table.repeated == ("id",)
    assert names(table) == {2: "a"}


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [(ROWS.encode(), True), (ROWS.encode()[:-1], False), (ROWS.encode("utf-16")[:-1], False), (b"", True)],
)
def test_a_file_that_ends_within_a_line_says_so(path: Path, content: bytes, is_whole: bool) -> None:
    path.write_bytes(content)
    assert open_table(path).is_whole is is_whole


def test_an_empty_file_has_no_columns(path: Path) -> None:
    table = write(path, "")
    assert table.columns == ()
    assert not [*table.rows()]


def test_a_spreadsheet(path: Path) -> None:
    at = datetime(2025, 3, 9, 12, 30)  # noqa: DTZ001 - a sheet's times have no zone
    rows: list[list[Cell]] = [[None], [" id ", "name", "at"], [1, "a", at], [None], [2.5, "b"], [3, "c", None, "more"]]
    table = open_table(write_xlsx(path, Stations=rows, Empty=[]))
    assert table.columns == ("id", "name", "at")
    assert names(table) == {3: "a", 5: "b"}
    assert unread(table) == {6: "WRONG_COLUMN_COUNT"}
    (_, first), *_ = table.rows()
    assert first == {"id": "1", "name": "a", "at": "2025-03-09 12:30:00"}


def test_a_damaged_spreadsheet_is_refused_in_one_line(path: Path) -> None:
    whole = write_xlsx(path, Stations=[["id", "name"], [1, "a"]]).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-30], whole.replace(b"<row", b"<rwo"), b"PK\x05\x06" + b"\0" * 18):
        path.write_bytes(content)
        with pytest.raises(TableError) as error:
            [*open_table(path).rows()]
        assert "\n" not in str(error.value)


def test_a_cell_without_end_is_reported(path: Path) -> None:
    table = write(path, f'id,name,city,note\n1,a,x,{"y" * 200_000}\n2,"b{"z" * 200_000},x,\n3,c,x,\n')
    assert names(table) == {4: "c"}
    assert unread(table).keys() == {2, 3}


def test_of_two_sheets_with_rows_none_is_guessed(path: Path) -> None:
    with pytest.raises(TableError, match=r"2 sheets have rows \(One, Two\)"):
        open_table(write_xlsx(path, One=[["id"]], Two=[["id"]]))


def test_other_content_by_its_first_character(path: Path) -> None:
    for content, first in [
        (b'\xef\xbb\xbf {"a": "\xc3\xa9"}', "{"),
        ("[1]".encode("utf-16"), "["),
        (b"", ""),
        (b"<p>", "<"),
    ]:
        path.write_bytes(content)
        assert first_character(path) == first
    path.write_bytes('{"a": "é"}'.encode("utf-16"))
    assert read_text(path) == '{"a": "é"}'


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(path: Path) -> None:
    def peak(rows: int) -> int:
        table = write(path, "id,name,note\n" + '1,"a, b",c\n' * rows)
        tracemalloc.start()
        assert sum(1 for _ in table.rows()) == rows
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(20_000) < 2 * peak(2_000)
