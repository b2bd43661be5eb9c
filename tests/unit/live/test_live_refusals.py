"""What counts as a refusal of a record, and how the refused records of a batch are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.cluster import NoHostAvailable

from evcharge.live.refusals import (
    UNEXPLAINED_LIMIT,
    IndexGoneError,
    Reason,
    Record,
    Refusal,
    is_outage,
    of_cassandra,
    of_elasticsearch,
    of_id,
    of_stream,
    refused_alone,
    taken_with_care,
)


def rows(count: int) -> list[Record]:
    return [{"kafka_partition": 0, "kafka_offset": offset} for offset in range(count)]


def test_an_index_that_is_gone_is_known_by_the_type_of_the_error() -> None:
    with pytest.raises(IndexGoneError, match="no such index"):
        of_elasticsearch("index", 404, {"type": "index_not_found_exception", "reason": "no such index [index]"})
    # what an empty `_id` gets
    reason = of_elasticsearch("index", 400, {"type": "illegal_argument_exception", "reason": "Ids can't be empty"})
    assert reason == Reason("elasticsearch", "illegal_argument_exception", "Ids can't be empty")


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_a_server_that_cannot_work_now_refuses_nothing(status: int) -> None:
    assert of_elasticsearch("index", status, {"type": "cluster_block_exception", "reason": "read-only"}) is None


def test_a_reason_has_its_cause() -> None:
    error = {"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": {"reason": "latitude"}}
    assert of_elasticsearch("index", 400, error) == Reason(
        "elasticsearch", "document_parsing_exception", "failed to parse: latitude"
    )


@pytest.mark.parametrize(
    ("identifier", "good"), [("a", True), ("é" * 256, True), ("x" * 512, True), ("", False), ("é" * 257, False)]
)
def test_an_id_has_1_to_512_bytes(identifier: str, good: bool) -> None:
    assert (of_id(identifier) is None) is good


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (InvalidRequest("Key length of 70008 is longer than maximum of 65535"), True),
        (OverflowError("date value out of range"), True),
        (InvalidRequest("table nosuch does not exist"), False),
        (NoHostAvailable("down", {}), False),
        (OperationTimedOut(), False),
    ],
)
def test_what_cassandra_refuses(error: Exception, refused: bool) -> None:
    assert (of_cassandra(error) is not None) is refused
    assert not refused or not is_outage(error)


class Taker:
    """Takes rows, but fails at those with some offsets."""

    def __init__(self, *bad: int, error: type[Exception] = ValueError) -> None:
        self.bad, self.error = set(bad), error
        self.taken: set[int] = set()
        self.calls = 0

    def __call__(self, part: Sequence[Record]) -> list[Refusal]:
        self.calls += 1
        offsets = {row["kafka_offset"] for row in part}
        if offsets & self.bad:
            raise self.error(f"fails at {sorted(offsets & self.bad)[0]}")
        self.taken |= offsets
        return []


def offsets_of(refusals: list[Refusal]) -> list[int]:
    return [refusal.record["kafka_offset"] for refusal in refusals]


def test_the_refused_are_found_by_halves_and_the_others_taken() -> None:
    take = Taker(3, 700)
    refused = refused_alone(rows(1000), take, of_stream)
    assert [row["kafka_offset"] for row, _ in refused] == [3, 700]
    assert refused[0][1] == Reason("stream", "ValueError", "fails at 3")
    assert take.taken == set(range(1000)) - {3, 700}
    assert take.calls < 50


def test_a_batch_that_fails_at_a_record_goes_on_without_it() -> None:
    take = Taker(5, error=KeyError)
    (refusal,) = taken_with_care(rows(20), take)
    assert (refusal.record["kafka_offset"], refusal.reason.code) == (5, "KeyError")
    assert take.taken == set(range(20)) - {5}


def test_a_server_that_is_down_gives_up_no_record() -> None:
    with pytest.raises(OperationTimedOut):
        taken_with_care(rows(20), Taker(5, error=OperationTimedOut))


def test_what_fails_at_every_record_is_no_records_fault() -> None:
    with pytest.raises(ValueError, match="fails at"):
        taken_with_care(rows(1000), Taker(*range(1000)))
    assert len(taken_with_care(rows(UNEXPLAINED_LIMIT), Taker(*range(UNEXPLAINED_LIMIT)))) == UNEXPLAINED_LIMIT


def test_what_the_writer_itself_finds_is_kept() -> None:
    known = Refusal({"kafka_partition": 0, "kafka_offset": 1}, Reason("elasticsearch", "code", "text"))
    found: list[Any] = taken_with_care(rows(3), lambda part: [known])
    assert found == [known]
