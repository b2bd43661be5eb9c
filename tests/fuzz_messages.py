"""Messages of every contract for the fuzz: valid, nearly valid and hostile ones, drawn from the contract's own fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from judging import TAKEN_AT

from evcharge.contracts import SESSION_EVENTS, Contract, Field, FieldType
from evcharge.contracts.session_events import MAX_SEQUENCE, MAX_STAY_DAYS, event_id
from evcharge.contracts.time_zones import known_time_zones

#: Texts that some store takes for a field's name, an option, markup, another type or nothing, or cannot encode.
ODD_TEXTS = (
    *("n.a.", "k.A.", ".", "..", ".a", "a..b", "_id", "_source", "any", "Type 2 (max. 22 kW)", "null", "true", "NaN"),
    *(
        "[1]",
        "{}",
        '{"a":1}',
        "[red]x[/red]",
        "Bay 1 [/left]",
        "<b>",
        "'; DROP TABLE x; --",
        "%s",
        "{0}",
        "\\",
        '"',
        "/",
    ),
    *("1e5", "007", "-", "*", "st-1-1", "__proto__", "é" * 40, "Łódź-充电-🔌", "x" * 128),
    *("\u200b", "\u2028", "\u202egnp", "\ufeff", "\ufffd", "\ue000", "a\u0301", "\U0010ffff", "\u00a0"),
)
#: Texts that no id may be.
BAD_TEXTS = ("", " ", "\t", "a\nb", "\x00", "\x7f", "\x85", "\ud83d", "x\udc00y", "x" * 513, "é" * 300, "x" * 70_000)
ODD_NUMBERS = (
    0,
    -0.0,
    -1,
    0.5,
    5e-324,
    1e-9,
    1e308,
    -1e308,
    float("inf"),
    2**31 - 1,
    2**31,
    2**63,
    2**200,
    "1.5",
    True,
)
ODD_TIMES = (
    *("9999-12-31T23:59:59Z", "20000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "now", "", 0),
    *(-1, 10**12, 10**15, 10**19, 1.5, "2026-11-21T12:00:00", "2026-11-21T12:00:00 CET", "2026-11-21"),
)
#: Values of other types than any field's.
OTHER_TYPES: tuple[Any, ...] = (None, [], {}, [None], {"a": None}, [[1]], True, 17, "text")
#: Few enough ids that messages meet at the same stations, EVSEs, sessions and cars.
FEW_IDS = ("st-1", "st-2", "st-3", *ODD_TEXTS[:6])

#: Of each field and run, as many good values, and as many bad ones.
VALUES_PER_FIELD = 50

_FIRST_DAY = datetime(2018, 1, 1, tzinfo=UTC)

odd_times = st.sampled_from(ODD_TIMES)
texts = st.one_of(
    st.sampled_from(ODD_TEXTS), st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
)


def good_texts(field: Field) -> st.SearchStrategy[str]:
    limit = field.max_bytes or 40
    long = st.integers(max(limit - 1, 1), limit).map(lambda size: "x" * size)
    few = st.sampled_from(FEW_IDS) if field.is_id else texts
    return st.one_of(few, few, few, texts, long).filter(
        lambda text: text.strip(" ") != "" and len(text.encode()) <= limit
    )


@st.composite
def good_times(draw: st.DrawFn, taken_at: datetime) -> str | int:
    """A time in one of the accepted forms, mostly within the hours before Kafka takes the message."""
    newest = taken_at + timedelta(hours=24)
    near = st.integers(-8 * 3600, 3600).map(lambda s: taken_at + timedelta(seconds=s, milliseconds=s % 1000))
    far = st.datetimes(_FIRST_DAY.replace(tzinfo=None), newest.replace(tzinfo=None), timezones=st.just(UTC))
    at = draw(st.one_of(near, near, near, far, st.sampled_from((_FIRST_DAY, newest))))
    return written(at, draw(st.integers(0, FORMS - 1)))


#: The number of forms in which `written` writes a time.
FORMS = 7


def written(at: datetime, form: int) -> str | int:
    local = at.astimezone(UTC) + timedelta(hours=1)
    forms = (
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        at.isoformat(timespec="seconds").replace("+00:00", "z").replace("T", "t"),
        local.isoformat(timespec="microseconds").replace("+00:00", "+0100"),
        at.isoformat(timespec="microseconds").replace("+00:00", "999Z"),
        at.isoformat(sep=" ", timespec="minutes"),
        int(at.timestamp()),
    )
    return forms[form]


def good_values(field: Field, taken_at: datetime = TAKEN_AT) -> st.SearchStrategy[Any]:
    """Values of a field that its own rules call good."""
    if field.values:
        return st.sampled_from(field.values)
    if field.name == "time_zone":
        return st.sampled_from(sorted(known_time_zones()))
    match field.type:
        case FieldType.STRING:
            return good_texts(field)
        case FieldType.TIMESTAMP:
            return good_times(taken_at)
        case FieldType.BOOLEAN:
            return st.booleans()
        case FieldType.INTEGER | FieldType.LONG:
            return st.integers(int(field.minimum or 0), int(field.maximum or 1))
        case FieldType.DOUBLE:
            return st.floats(field.minimum, field.maximum, allow_nan=False)
    if field.type is FieldType.STRINGS:
        return st.lists(good_values(field.element[0]), max_size=4)
    elements = st.fixed_dictionaries(
        {each.name: good_values(each) for each in field.element if each.required},
        optional={each.name: st.none() | good_values(each) for each in field.element if not each.required},
    )
    return st.lists(elements, max_size=4, unique_by=(lambda e: e[field.unique]) if field.unique else None)


def bad_values(field: Field) -> st.SearchStrategy[Any]:
    """Values that a field should not have, most of which its rules refuse."""
    others = st.sampled_from(OTHER_TYPES)
    if field.element:
        is_texts = field.type is FieldType.STRINGS
        of = (
            bad_values(field.element[0])
            if is_texts
            else st.fixed_dictionaries({}, optional={e.name: good_values(e) | bad_values(e) for e in field.element})
        )
        return st.one_of(others, st.lists(st.one_of(of, others), max_size=4))
    if field.type is FieldType.STRING:
        return st.one_of(others, st.sampled_from(BAD_TEXTS), st.text(max_size=10), st.text(min_size=1, max_size=600))
    if field.type is FieldType.TIMESTAMP:
        return st.one_of(others, odd_times)
    return st.one_of(others, st.sampled_from(ODD_NUMBERS), st.floats(), st.integers())


@dataclass(frozen=True, slots=True)
class Pool:
    """Values of a field, drawn by Hypothesis. Messages are put together from them, a thousand times as fast."""

    good: list[Any]
    bad: list[Any]


def generated(contract: Contract, count: int, random_seed: int, taken_at: datetime = TAKEN_AT) -> list[bytes]:
    """`count` messages of the contract, which Kafka takes at `taken_at`; the same ones for the same seed."""
    pools = {
        field.name: Pool(
            drawn(good_values(field, taken_at), VALUES_PER_FIELD, random_seed),
            drawn(bad_values(field), VALUES_PER_FIELD, random_seed),
        )
        for field in contract.fields
    }
    random = Random(random_seed)
    return [_message(contract, pools, random, taken_at) for _ in range(count)]


def drawn(strategy: st.SearchStrategy[Any], count: int, random_seed: int) -> list[Any]:
    """About `count` different values of a strategy."""
    found: list[Any] = []

    @seed(random_seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def _message(contract: Contract, pools: dict[str, Pool], random: Random, taken_at: datetime) -> bytes:
    """A message in which no field, or up to two, are spoilt; now and then its bytes are."""
    row: dict[str, Any] = {
        field.name: random.choice(pools[field.name].good)
        for field in contract.fields
        if field.required or random.random() < 0.6
    }
    row["schema_version"] = contract.schema_version
    if contract is SESSION_EVENTS:
        _fit_together(random, row, taken_at)
    if random.random() < 0.4:
        for name in random.sample(contract.columns, random.randint(1, 2)):
            row[name] = random.choice(pools[name].bad)
    if random.random() < 0.05:
        row.pop(random.choice(contract.columns), None)
    # Java reads this number as infinity
    text = json.dumps(row, ensure_ascii=random.random() < 0.5).replace("Infinity", "1e999")
    content = text.encode(errors="surrogatepass")
    return content[: len(content) // 2] if random.random() < 0.01 else content


def _fit_together(random: Random, row: dict[str, Any], taken_at: datetime) -> None:
    """Makes a session event what no single field shows: its id, its times, and a CDR with all that it needs."""
    if random.random() < 0.7:
        row["session_id"] = random.choice(("s-1", "s-2", "s-3"))
    row["sequence"] = random.choice((*range(10), MAX_SEQUENCE))
    row["event_id"] = event_id(row["session_id"], row["sequence"])
    if row["event_type"] == "stopped":
        at = taken_at - timedelta(seconds=random.randint(0, 8 * 3600))
        stay_s = random.choice((random.randint(0, 8 * 3600), random.randint(0, MAX_STAY_DAYS * 86_400 - 60)))
        row["occurred_at"] = written(at, random.randrange(FORMS))
        row["started_at"] = written(at - timedelta(seconds=stay_s + 60), random.randrange(FORMS))
        row.setdefault("energy_delivered_kwh", 7.5)
        row.setdefault("evse_id", "1")
