"""The `session-events` topic: what happens in a charging session, from the queue to the unplugged cable.

The names are those of OCPI and OCPP. A `stopped` event is a complete charge detail record (CDR). The warehouse's fact row
is made from it alone, so a session is counted once and in full even if its earlier events are late or lost.
"""

from evcharge.contracts.model import MAX_ID_BYTES, Contract, Field, FieldType, Rule, id_field

TOPIC = "session-events"

EVENT_TYPES = ("queued", "abandoned", "started", "meter", "suspended", "resumed", "stopped", "faulted")

# the members of OCPP 2.0.1 ReasonEnumType that the feeds use
STOP_REASONS = (
    "EVDisconnected",
    "SOCLimitReached",
    "EnergyLimitReached",
    "StoppedByEV",
    "TimeLimitReached",
    "Timeout",
    "GroundFault",
    "PowerLoss",
    "Local",
    "Remote",
    "Other",
)

# 1 MWh is more than any battery on the road takes and less than a corrupt meter register shows.
MAX_ENERGY_KWH = 1_000.0
# 4 MW: the Megawatt Charging System's limit is 3.75 MW (CharIN MCS white paper, 2022).
MAX_POWER_KW = 4_000.0
# No cable stays plugged in for more than a year; a clock that lost its date shows more.
MAX_STAY_DAYS = 366
MAX_STAY_S = MAX_STAY_DAYS * 86_400.0
# A meter value a second for eleven days.
MAX_SEQUENCE = 1_000_000
MAX_EVENT_ID_BYTES = MAX_ID_BYTES + len(f"-{MAX_SEQUENCE}")
#: The hours of a day are computed from sessions that lasted up to this long. Of a longer one they have what its rows of the
#: last days tell. A car is rarely plugged in for longer than a holiday of a month.
MAX_SESSION_DAYS = 31


def event_id(session_id: str, sequence: int) -> str:
    """The id of a session's event. It depends only on session and sequence, so that a re-sent event has the same id."""
    return f"{session_id}-{sequence}"


SESSION_EVENTS = Contract(
    topic=TOPIC,
    key="station_id",
    schema_version=1,
    event_time="occurred_at",
    description="Charging session events, in order per station; the stopped event is the complete CDR.",
    fields=(
        Field("schema_version", FieldType.INTEGER, "Version of this contract", required=True),
        id_field(
            "event_id",
            "session_id, a hyphen, sequence: equal for a re-sent event",
            required=True,
            max_bytes=MAX_EVENT_ID_BYTES,
        ),
        id_field("session_id", "Session, from the queue to the unplugged cable", required=True),
        Field(
            "sequence",
            FieldType.INTEGER,
            "Place of the event in its session, from 0",
            required=True,
            minimum=0,
            maximum=MAX_SEQUENCE,
        ),
        id_field("station_id", "Charging station (OCPI location); the Kafka key", required=True),
        id_field("evse_id", "EVSE within the station; null while the car queues"),
        id_field("connector_id", "Connector of the EVSE; null while the car queues"),
        id_field("ev_id", "Vehicle; null where the source does not give it"),
        id_field("ev_model_id", "Vehicle model in the reference data; null where unknown"),
        Field("event_type", FieldType.STRING, "What happened", required=True, values=EVENT_TYPES),
        Field(
            "occurred_at",
            FieldType.TIMESTAMP,
            "When it happened; for a stopped event: when the session ended",
            required=True,
        ),
        Field(
            "power_kw",
            FieldType.DOUBLE,
            "Power at the connector at occurred_at",
            unit="kW",
            minimum=0,
            maximum=MAX_POWER_KW,
        ),
        Field(
            "energy_delivered_kwh",
            FieldType.DOUBLE,
            "Energy since the session's start, cumulative, to the Wh",
            unit="kWh",
            minimum=0,
            maximum=MAX_ENERGY_KWH,
        ),
        Field(
            "state_of_charge",
            FieldType.DOUBLE,
            "Battery level at occurred_at (OCPP SoC)",
            unit="percent",
            minimum=0,
            maximum=100,
        ),
        Field("reason", FieldType.STRING, "Why the session stopped (OCPP 2.0.1 ReasonEnumType)", values=STOP_REASONS),
        Field("started_at", FieldType.TIMESTAMP, "stopped: when the cable was plugged in"),
        Field(
            "idle_s",
            FieldType.DOUBLE,
            "stopped: plugged in without charging, after full",
            unit="s",
            minimum=0,
            maximum=MAX_STAY_S,
        ),
        Field(
            "queue_wait_s",
            FieldType.DOUBLE,
            "stopped: wait for a free EVSE before the start",
            unit="s",
            minimum=0,
            maximum=MAX_STAY_S,
        ),
        Field(
            "state_of_charge_start",
            FieldType.DOUBLE,
            "stopped: battery level at started_at",
            unit="percent",
            minimum=0,
            maximum=100,
        ),
    ),
    own_rules=(
        Rule(
            "EVENT_ID_MISMATCH",
            "event_id",
            "event_id <> concat(session_id, '-', sequence)",
            "event_id must be session_id, a hyphen and sequence",
        ),
        Rule(
            "INCOMPLETE_CDR",
            "energy_delivered_kwh",
            "event_type = 'stopped' AND (energy_delivered_kwh IS NULL OR started_at IS NULL OR evse_id IS NULL)",
            "a stopped event needs energy_delivered_kwh, started_at and evse_id",
        ),
        Rule(
            "ENDS_BEFORE_START",
            "started_at",
            "event_type = 'stopped' AND started_at > occurred_at",
            "a session cannot end before it starts",
        ),
        Rule(
            "STAY_TOO_LONG",
            "started_at",
            f"event_type = 'stopped' AND unix_seconds(occurred_at) - unix_seconds(started_at) > {MAX_STAY_S:.0f}",
            f"a session cannot last more than {MAX_STAY_DAYS} days",
        ),
    ),
)
