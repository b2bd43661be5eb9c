"""The `station-registry` topic: which stations exist, where, and with which EVSEs. It never says whether an EVSE is free."""

from evcharge.contracts.model import Contract, Field, FieldType, Rule
from evcharge.contracts.time_zones import known_time_zones

TOPIC = "station-registry"

# AFDC's status codes: E open, P planned, T temporarily unavailable
STATUS_CODES = ("E", "P", "T")

STATION_REGISTRY = Contract(
    topic=TOPIC,
    key="station_id",
    schema_version=1,
    event_time="observed_at",
    description="Charging stations and their EVSEs, as their registry has them. The newest record of a station wins.",
    fields=(
        Field("schema_version", FieldType.INTEGER, "Version of this contract", required=True),
        Field("observed_at", FieldType.TIMESTAMP, "When the registry had the station like this", required=True),
        Field("station_id", FieldType.STRING, "Charging station (OCPI location); the Kafka key", required=True),
        Field("station_name", FieldType.STRING, "Name shown to drivers", required=True),
        Field("city", FieldType.STRING, "City"),
        Field("state", FieldType.STRING, "State or region, two letters in the US"),
        Field("zip", FieldType.STRING, "Postal code: text, leading zeros kept"),
        Field("country", FieldType.STRING, "ISO 3166-1 alpha-2 country code"),
        Field("time_zone", FieldType.STRING, "IANA time zone, for local days and hours", required=True),
        Field("longitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-180, maximum=180),
        Field("latitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-90, maximum=90),
        Field(
            "status_code", FieldType.STRING, "E open, P planned, T closed for now", required=True, values=STATUS_CODES
        ),
        Field("connector_types", FieldType.STRINGS, "Distinct connector types of the station"),
        Field("total_outlets", FieldType.INTEGER, "Connectors that can be used at once", required=True, minimum=0),
        Field("connectors", FieldType.CONNECTORS, "Power and ports by connector type (AFDC ev_charging_units)"),
        Field("evses", FieldType.EVSES, "EVSEs with one connector each, where the source knows them"),
        Field("network", FieldType.STRING, "Operator network"),
        Field(
            "source",
            FieldType.STRING,
            "Feed that sent it: simulation, synthetic, afdc, kaggle, acn, epfl, generic",
            required=True,
        ),
        Field(
            "snapshot_scope",
            FieldType.STRING,
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
    ),
)
