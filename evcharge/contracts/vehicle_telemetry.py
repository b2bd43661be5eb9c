"""The `vehicle-telemetry` topic: where a connected car is, how it moves, and how far it can still go."""

from evcharge.contracts.model import Contract, Field, FieldType

TOPIC = "vehicle-telemetry"

# Production cars end below this; a GPS that jumps shows more.
MAX_SPEED_KMH = 300.0
#: A car that would have to be faster than this is somewhere else than it says, unless it is a matter of a few metres: above
#: what production cars do, below what an aeroplane does.
MAX_JUMP_KMH = 350.0
MIN_JUMP_KM = 1.0
# The longest rated range of a production car is 850 km (Lucid Air, EPA 2024: 512 miles).
MAX_RANGE_KM = 1_200.0

VEHICLE_TELEMETRY = Contract(
    topic=TOPIC,
    key="vehicle_id",
    schema_version=1,
    event_time="occurred_at",
    description="Positions of connected cars, driving and parked, in order per vehicle.",
    fields=(
        Field("schema_version", FieldType.INTEGER, "Version of this contract", required=True),
        Field("vehicle_id", FieldType.STRING, "Vehicle (ev_id of the session events); the Kafka key", required=True),
        Field("ev_model_id", FieldType.STRING, "Vehicle model in the reference data; null where unknown"),
        Field("occurred_at", FieldType.TIMESTAMP, "When the car was there", required=True),
        Field("latitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-90, maximum=90),
        Field("longitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-180, maximum=180),
        Field("heading", FieldType.DOUBLE, "Clockwise from north", unit="degree", minimum=0, maximum=360),
        Field("speed_kmh", FieldType.DOUBLE, "Speed", required=True, unit="km/h", minimum=0, maximum=MAX_SPEED_KMH),
        Field("ignition", FieldType.BOOLEAN, "Whether the car is switched on", required=True),
        Field(
            "state_of_charge", FieldType.DOUBLE, "Battery level", required=True, unit="percent", minimum=0, maximum=100
        ),
        Field("range_km", FieldType.DOUBLE, "What the battery lasts for", unit="km", minimum=0, maximum=MAX_RANGE_KM),
        Field("destination_station_id", FieldType.STRING, "Station that the car navigates to; null where unknown"),
    ),
)
