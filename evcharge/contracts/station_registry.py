"""The `station-registry` topic: which stations exist, where, and with which EVSEs. It never says whether an EVSE is free."""

from evcharge.contracts.model import Contract, Field, FieldType, Rule, id_field
from evcharge.contracts.session_events import MAX_POWER_KW
from evcharge.contracts.time_zones import known_time_zones

TOPIC = "station-registry"

# AFDC's status codes: E open, P planned, T temporarily unavailable
STATUS_CODES = ("E", "P", "T")

#: The `snapshot_scope` of a record that says nothing about what its snapshot does not have.
UNDECLARED = "undeclared"
#: More than any charging park has: AFDC's largest station has 275.
MAX_OUTLETS = 10_000
# The longest name of AFDC's US stations of 2020 to 2025 has 116 bytes, the longest city 32.
MAX_NAME_BYTES = 512
MAX_TEXT_BYTES = 256
MAX_CONNECTOR_TYPE_BYTES = 128
MAX_CONNECTOR_TYPES = 100
MAX_CONNECTORS = 1_000
#: Different connector types and powers at a station. A station's document lists each of them, in at most 32 kB.
MAX_KINDS = 50


def _text(name: str, description: str, *, required: bool = False) -> Field:
    return Field(name, FieldType.STRING, description, required=required, max_bytes=MAX_TEXT_BYTES)


def _kinds_of(name: str) -> Rule:
    kinds = f"array_distinct(transform({name}, e -> struct(e.connector_type, e.power_kw)))"
    return Rule(
        "TOO_MANY_ELEMENTS",
        name,
        f"size({kinds}) > {MAX_KINDS}",
        f"{name} must have at most {MAX_KINDS} combinations of connector type and power",
    )


_CONNECTOR_TYPE = id_field("connector_type", "Connector type", max_bytes=MAX_CONNECTOR_TYPE_BYTES)
_POWER_KW = Field("power_kw", FieldType.DOUBLE, "Highest power", unit="kW", minimum=0, maximum=MAX_POWER_KW)


STATION_REGISTRY = Contract(
    topic=TOPIC,
    key="station_id",
    schema_version=1,
    event_time="observed_at",
    description="Charging stations and their EVSEs, as their registry has them. The newest record of a station wins.",
    fields=(
        Field("schema_version", FieldType.INTEGER, "Version of this contract", required=True),
        Field("observed_at", FieldType.TIMESTAMP, "When the registry had the station like this", required=True),
        id_field("station_id", "Charging station (OCPI location); the Kafka key", required=True),
        Field("station_name", FieldType.STRING, "Name shown to drivers", required=True, max_bytes=MAX_NAME_BYTES),
        _text("city", "City"),
        _text("state", "State or region, two letters in the US"),
        _text("zip", "Postal code: text, leading zeros kept"),
        _text("country", "ISO 3166-1 alpha-2 country code"),
        Field("time_zone", FieldType.STRING, "IANA time zone, for local days and hours", required=True),
        Field("longitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-180, maximum=180),
        Field("latitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-90, maximum=90),
        Field(
            "status_code", FieldType.STRING, "E open, P planned, T closed for now", required=True, values=STATUS_CODES
        ),
        Field(
            "connector_types",
            FieldType.STRINGS,
            "Distinct connector types of the station",
            element=(_CONNECTOR_TYPE,),
            max_elements=MAX_CONNECTOR_TYPES,
        ),
        Field(
            "total_outlets",
            FieldType.INTEGER,
            "Connectors that can be used at once",
            required=True,
            minimum=0,
            maximum=MAX_OUTLETS,
        ),
        Field(
            "connectors",
            FieldType.CONNECTORS,
            "Power and ports by connector type (AFDC ev_charging_units)",
            element=(
                _CONNECTOR_TYPE,
                _POWER_KW,
                Field("ports", FieldType.INTEGER, "Connectors of this type", minimum=0, maximum=MAX_OUTLETS),
            ),
            max_elements=MAX_CONNECTORS,
        ),
        Field(
            "evses",
            FieldType.EVSES,
            "EVSEs with one connector each, where the source knows them",
            element=(
                id_field("evse_id", "EVSE within the station", required=True),
                id_field("connector_id", "Connector of the EVSE"),
                _CONNECTOR_TYPE,
                _POWER_KW,
            ),
            max_elements=MAX_OUTLETS,
            unique="evse_id",
        ),
        _text("network", "Operator network"),
        _text(
            "source",
            "Feed that sent it: simulation, synthetic, afdc, kaggle, acn, epfl, generic",
            required=True,
        ),
        _text(
            "snapshot_scope",
            "What the snapshot covers: all, a state, the source; undeclared",
            required=True,
        ),
        Field(
            "removed_at",
            FieldType.TIMESTAMP,
            "When the station was missing from a snapshot of its scope; null: it is there",
        ),
    ),
    own_rules=(
        Rule(
            "UNKNOWN_TIME_ZONE",
            "time_zone",
            f"time_zone NOT IN ({', '.join(repr(name) for name in sorted(known_time_zones()))})",
            "time_zone must be an IANA name that every reader knows",
        ),
        _kinds_of("connectors"),
        _kinds_of("evses"),
    ),
)
