"""Numbers as people's files have them: a column as a whole says which sign is the decimal one, or it is refused."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from evcharge.recorded.readers.model import ColumnError

#: The decimal sign, and the sign that groups thousands where it is the decimal one.
POINT, COMMA = ".", ","
_OTHER = {POINT: COMMA, COMMA: POINT}
_EITHER = "either"

# 1 234 567,5 and 1'234'567.5, with the blanks and apostrophes that locales use
_SPACED = re.compile(r"([+-]?\d{1,3}(?:([ '\u2019\u00a0\u2009\u202f])\d{3})(?:\2\d{3})*)([.,]\d+)?")
_GROUPED = {sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+") for sign in _OTHER}
_DECIMAL = re.compile(r"[+-]?\d*[.,]\d*(?:[eE][+-]?\d+)?")
# most numbers: their point cannot group thousands
_PLAIN = re.compile(r"-?\d+\.(?:\d\d?|\d{4,})")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a column measures: the largest possible value, and whether it is never measured in thousandths."""

    largest: float = math.inf
    whole: bool = False


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How to read a column's numbers. Without `groups` no sign groups thousands: the column has both as decimal signs."""

    decimal: str = POINT
    groups: bool = True

    def value(self, text: str) -> float | None:
        """The number; None if the text is none in this form."""
        if self.decimal == POINT and _NUMBER.fullmatch(text):
            return float(text)
        text = _unspaced(text)
        whole, sign, rest = text.partition(self.decimal)
        if self.groups and _GROUPED[_OTHER[self.decimal]].fullmatch(whole):
            whole = whole.replace(_OTHER[self.decimal], "")
        plain = whole + ("." if sign else "") + rest
        if _OTHER[self.decimal] == POINT and POINT in whole + rest:
            return None
        return float(plain) if _NUMBER.fullmatch(plain) else None


@dataclass
class NumberColumn:
    """What the values of a column say of its decimal sign. A value such as 12,345 says nothing by itself."""

    name: str
    quantity: Quantity
    shown: Counter[str] = field(default_factory=Counter)
    first_unclear: tuple[int, str] | None = None
    _unclear_signs: set[str] = field(default_factory=set)
    _impossible_grouped: int = 0
    _without_sign: int = 0
    _last: str = ""
    _last_sign: str | None = None

    def observe(self, number: int, text: str) -> None:
        """Takes the value of a row."""
        text = text.strip()
        # stations and powers repeat
        if text == self._last:
            sign = self._last_sign
        else:
            sign = None if text.isdigit() else _sign(text)
            self._last, self._last_sign = text, sign
        if sign == _EITHER:
            self.first_unclear = self.first_unclear or (number, text)
            self._impossible_grouped += abs(float(re.sub("[.,]", "", text))) > self.quantity.largest
            self._unclear_signs.update(set(text) & {*_OTHER})
        if sign is not None:
            self.shown[sign] += 1
        elif text.isdigit() and text.strip("0"):
            self._without_sign += 1

    def decimal(self) -> str | None:
        """The decimal sign by the values, or else by what is possible in the column's unit. None: nothing decides."""
        if self.shown[POINT] != self.shown[COMMA]:
            return max(_OTHER, key=self.shown.__getitem__)
        if self.shown[POINT] or len(self._unclear_signs) != 1:
            return None
        (grouping,) = self._unclear_signs
        if self.quantity.whole:
            return _OTHER[grouping]
        # A few impossible values may be faults of the meter. With a comma, 9 beside 12,345 looks like a whole number.
        is_decimal = self._impossible_grouped * 2 > self.shown[_EITHER] and (
            grouping == POINT or not self._without_sign
        )
        return grouping if is_decimal else None


def decide(
    columns: Collection[NumberColumn], stated: str | None, usual: str | None, *, typed: bool = False
) -> dict[str, NumberForm]:
    """The form of each column: as `stated`, else as its own values show, else as the file's other columns, else `usual`.

    A `typed` file, JSON or a spreadsheet, has numbers of its own, which are written here with a point and without groups.
    Raises ColumnError for a column that can be read in two ways.
    """
    stated = stated or (POINT if typed else None)
    own = {column.name: stated or column.decimal() for column in columns}
    shown = {decimal for decimal in own.values() if decimal}
    common = shown.pop() if len(shown) == 1 else usual
    forms = {}
    for column in columns:
        decimal = own[column.name] or common
        if decimal is None and column.first_unclear:
            number, text = column.first_unclear
            grouped, broken = re.sub("[.,]", "", text), re.sub("[.,]", ".", text)
            raise ColumnError(
                number,
                column.name,
                f"{text!r} can be {grouped} or {broken}, and nothing in the file decides: "
                "say --decimal-point or --decimal-comma",
            )
        both = bool(column.shown[POINT] and column.shown[COMMA])
        forms[column.name] = NumberForm(decimal or POINT, groups=not both and not typed)
    return forms


def _unspaced(text: str) -> str:
    spaced = _SPACED.fullmatch(text)
    return re.sub(r"[^\d+-]", "", spaced[1]) + (spaced[3] or "") if spaced else text


def _sign(text: str) -> str | None:
    """The decimal sign that a value shows, _EITHER if its only sign can also group thousands, None if it shows nothing."""
    if _PLAIN.fullmatch(text):
        return POINT
    if spaced := _SPACED.fullmatch(text):
        return spaced[3][0] if spaced[3] else None
    last = max(_OTHER, key=text.rfind)
    if text.rfind(last) < 0:
        return None
    head, _, tail = text.rpartition(last)
    if _OTHER[last] in head:
        return last if _GROUPED[_OTHER[last]].fullmatch(head) and _DECIMAL.fullmatch(last + tail) else None
    if last in head:
        return _OTHER[last] if _GROUPED[last].fullmatch(text) else None
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}", head) and re.fullmatch(r"\d{3}", tail):
        return _EITHER
    return last if _DECIMAL.fullmatch(text) and len(text) > 1 else None
