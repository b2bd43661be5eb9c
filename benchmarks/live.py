"""The live path: from an event's sending until a search finds it, at several rates, and how soon a burst is worked off.

Everything runs on this machine at once: servers, the stream with all its queries, the producer and the probe. Limit: an
empty micro-batch loop of the same Spark with the same checkpoints, plus a refresh of the index. Peer: a quixstreams
consumer (json, no rules, no state) that upserts the latest event of each station, seen by the same probe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from statistics import fmean, median
from types import MappingProxyType

import orjson
from elasticsearch import Elasticsearch

from benchmarks.harness import Report, Result, percentile, percentiles
from benchmarks.peers import empty_batches, quixstreams_consumer
from benchmarks.processes import Processes
from benchmarks.traffic import (
    PROBE_STATIONS,
    Message,
    at_stations,
    probe,
    probe_stations,
    register,
    sending,
    session_event,
    simulated_messages,
)
from evcharge.connections import elasticsearch
from evcharge.contracts import SESSION_EVENTS
from evcharge.feeds.producer import KafkaPublisher
from evcharge.live.indices import STATION_STATE
from evcharge.live.stream_status import read_status
from evcharge.settings import PROJECT, Settings
from evcharge.stack.programs import environment_script
from evcharge.stack.stack import last_lines
from evcharge.stack.supervisor import Supervisor
from simulation import build_network

STATIONS, VEHICLES, SEED = 500, 5_000, 7
AT_REST = 5
RATES = (AT_REST, 2_000, 5_000, 10_000)
#: The rate at which the peer is measured, and that of the burst.
PEER_RATE, BURST_RATE = 5_000, 10_000

STREAM = (str(environment_script("evcharge")), "stream")
#: The servers that work for the live state.
STORES = ("kafka", "elasticsearch", "cassandra")
STREAM_READY_WITHIN_S = 600.0
CAUGHT_UP_WITHIN_S = 900.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each rate is measured in each round and warmed up before, and how many days of traffic are simulated."""

    seconds: float = 20.0
    rounds: int = 3
    warm_up_s: float = 60.0
    #: Before the first rate: the code of stream and servers is compiled in earnest only after some minutes of load.
    compiled_after_s: float = 120.0
    days: int = 3

    @property
    def sent_s(self) -> float:
        return self.warm_up_s + self.rounds * self.seconds


def live(settings: Settings, effort: Effort, report: Report) -> list[Result]:
    """Visible at each rate, and the burst."""
    report("simulating traffic")
    network = build_network(STATIONS, SEED)
    messages = simulated_messages(network, VEHICLES, SEED, effort.days)
    results = {rate: _result(rate) for rate in RATES}
    burst = Result(
        "burst",
        "s",
        f"After {BURST_RATE:,} events/s for {effort.sent_s:.0f} s the live state is current again within this time.",
    )
    with elasticsearch(settings) as client:
        # stations of its own for each rate: a document remembers six hours of ended sessions, which here pass in a minute
        for prefix in ("warm", *(f"at{rate}" for rate in RATES)):
            register(settings, network.registry_records(), prefix)
        report("starting the stream")
        with running_stream(settings, client) as stream:
            services = {"stream": stream, **_stores(settings)}
            report("warming up")
            with sending(settings, at_stations(messages, "warm"), PEER_RATE, effort.compiled_after_s) as acknowledged:
                ended(client, acknowledged)
            for rate, result in results.items():
                report(f"visible at {rate:,} events/s")
                own = at_stations(messages, f"at{rate}")
                lag_s = _visible(settings, client, services, own, rate, effort, result)
                if rate == BURST_RATE:
                    burst.ours.append(round(lag_s, 1))
                    burst.run_ended()
        report("the limit: empty micro-batches")
        _measure_limit(settings, client, effort, list(results.values()))
        report("the peer: quixstreams")
        with quixstreams_consumer(settings, client) as index:
            _measure_peer(settings, client, index, at_stations(messages, "peer"), effort, results[PEER_RATE])
    report("ready")
    return [*results.values(), *_compared(results), _processor_time(results[PEER_RATE]), burst]


def _result(rate: int) -> Result:
    result = Result(
        f"visible {rate:,}/s",
        "s",
        f"A search finds 95 of 100 events within this time after they were sent, at {rate:,} events/s.",
    )
    if rate == AT_REST:
        result.floor, result.aim = 1.0, 0.4
    return result


def _compared(results: Mapping[int, Result]) -> list[Result]:
    """What counts of the times: ours against the peer's, and against our own at another rate."""
    to_peer = Result(
        "visible to peer",
        "times",
        f"The quixstreams consumer's time goes so often into ours, both at {PEER_RATE:,} events/s.",
        floor=1.6,
        aim=0.9,
    )
    to_peer.ours.append(round(median(results[PEER_RATE].ours) / median(results[PEER_RATE].peer), 2))
    fast, slow = BURST_RATE, RATES[1]
    to_slow = Result(
        f"visible {fast:,}/s to {slow:,}/s",
        "times",
        f"At {fast:,} events/s an event takes so many times as long as at {slow:,} events/s.",
        floor=1.6,
        aim=1.1,
    )
    to_slow.ours.append(round(median(results[fast].ours) / median(results[slow].ours), 2))
    for result in (to_peer, to_slow):
        result.run_ended()
    return [to_peer, to_slow]


def _processor_time(visible: Result) -> Result:
    by_service = visible.details["processor_s_per_1000_events"]
    result = Result(
        "processor time",
        "s",
        f"The stream and its stores take so much processor time for 1,000 session events, at {PEER_RATE:,} events/s.",
    )
    result.ours.append(round(sum(by_service.values()), 3))
    result.details |= by_service
    result.run_ended()
    return result


def _stores(settings: Settings) -> dict[str, int]:
    processes = Supervisor(settings).processes()
    return {name: processes[name].pid for name in STORES}


def _visible(
    settings: Settings,
    client: Elasticsearch,
    services: Mapping[str, int],
    messages: Sequence[Message],
    rate: int,
    effort: Effort,
    result: Result,
) -> float:
    """Fills the result; seconds from the end of sending until the stream has caught up. `services` are process ids."""
    before = Processes.now()
    with ThreadPoolExecutor(1) as beside, sending(settings, messages, rate, effort.sent_s) as acknowledged:
        # beside the probe, which runs until its last event is visible
        ending = beside.submit(ended, client, acknowledged)
        time.sleep(effort.warm_up_s)
        result.ours, latencies = _probed(settings, client, STATION_STATE, effort)
        result.run_ended()
        sent_per_s, lag_s = ending.result()
    after, thousands = Processes.now(), sent_per_s * effort.sent_s / 1000
    taken_s = {name: after.processor_s(pid) - before.processor_s(pid) for name, pid in services.items()}
    result.details |= {
        "processor_s_per_1000_events": {name: round(seconds / thousands, 4) for name, seconds in taken_s.items()},
        **percentiles(latencies, 3),
        "events": len(latencies),
        "sent_per_s": round(sent_per_s),
        "document_bytes": _document_bytes(client, messages),
    }
    return lag_s


def _probed(settings: Settings, client: Elasticsearch, index: str, effort: Effort) -> tuple[list[float], list[float]]:
    """Each round's p95, and the latencies of all rounds; in seconds."""
    rounds = [probe(settings, client, index, effort.seconds) for _ in range(effort.rounds)]
    return [round(percentile(latencies, 95), 3) for latencies in rounds], list(chain.from_iterable(rounds))


def ended(client: Elasticsearch, acknowledged: Callable[[], float]) -> tuple[float, float]:
    """The rate of sending (messages/s), and the seconds from its end until the stream has caught up."""
    sent_per_s = acknowledged()
    begun, ended_at = time.monotonic(), datetime.now(UTC)
    wait_until_current(client, "stations", ended_at, CAUGHT_UP_WITHIN_S)
    return sent_per_s, time.monotonic() - begun


def _document_bytes(client: Elasticsearch, messages: Sequence[Message]) -> int:
    """Mean size of the documents that were written: the more a station remembers, the more each batch costs."""
    stations = sorted({message.key.decode() for message in messages})
    found = client.mget(index=STATION_STATE, ids=stations)["docs"]
    sizes = [len(orjson.dumps(entry["_source"])) for entry in found if entry["found"]]
    return round(fmean(sizes))


def _measure_limit(settings: Settings, client: Elasticsearch, effort: Effort, results: Iterable[Result]) -> None:
    refreshes = client.indices.stats(index=STATION_STATE, metric="refresh")["_all"]["primaries"]["refresh"]
    refresh_s = refreshes["total_time_in_millis"] / refreshes["total"] / 1000
    durations = empty_batches(settings, effort.warm_up_s, effort.rounds * effort.seconds)
    for result in results:
        result.limit.append(round(percentile(durations, 95) + refresh_s, 3))


def _measure_peer(
    settings: Settings,
    client: Elasticsearch,
    index: str,
    messages: Sequence[Message],
    effort: Effort,
    result: Result,
) -> None:
    with sending(settings, messages, PEER_RATE, effort.sent_s):
        time.sleep(effort.warm_up_s)
        result.peer, latencies = _probed(settings, client, index, effort)
    result.details["peer"] = percentiles(latencies, 3)


def register_probe(settings: Settings) -> None:
    """Registers the probe's stations and sends an event of each: a stream is silent until it has had something."""
    records = build_network(PROBE_STATIONS, SEED).registry_records()
    register(settings, records, "probe")
    with KafkaPublisher(settings) as publisher:
        at = datetime.now(UTC)
        publisher.publish(
            SESSION_EVENTS, [session_event(name, f"first-{name}-{at:%H%M%S}", 0, at) for name in probe_stations()]
        )


@contextmanager
def running_stream(
    settings: Settings,
    client: Elasticsearch,
    command: Sequence[str] = STREAM,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[int]:
    """The process id of the stream, once it has caught up with all that Kafka has. Raises RuntimeError if it does not."""
    register_probe(settings)
    log = settings.log_dir / "stream.log"
    with log.open("a") as output:
        # A session of its own: its JVM and Python workers end with its group, and it has a priority of its own
        stream = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            for query in ("registry", "stations", "journal"):
                wait_until_current(client, query, datetime.now(UTC), STREAM_READY_WITHIN_S, stream)
            yield stream.pid
        except StreamNotCurrentError as error:
            raise RuntimeError("\n  ".join([str(error), *last_lines(log, 15)])) from None
        finally:
            stream.terminate()
            with suppress(subprocess.TimeoutExpired):
                stream.wait(timeout=60)
            with suppress(ProcessLookupError):
                os.killpg(stream.pid, signal.SIGKILL)
            stream.wait()


class StreamNotCurrentError(RuntimeError):
    """The stream did not catch up in time."""


def wait_until_current(
    client: Elasticsearch, query: str, at: datetime, within_s: float, stream: subprocess.Popen[bytes] | None = None
) -> None:
    """Waits until everything that Kafka had at `at` is in the state. Raises StreamNotCurrentError."""
    begun = time.monotonic()
    status = None
    while time.monotonic() - begun < within_s and (stream is None or stream.poll() is None):
        status = read_status(client, query)
        if status and status.as_of and not status.lag_rows and datetime.fromisoformat(status.as_of) >= at:
            return
        time.sleep(0.2)
    raise StreamNotCurrentError(f"the stream's query {query} has not caught up, its status: {status}")
