"""The `vehicle-telemetry` topic: where a connected car is, how it moves, and how far it can still drive."""

from evcharge.contracts.model import Contract, Field, FieldType, id_field

TOPIC = "vehicle-telemetry"

# no production car is faster; a GPS receiver that jumps reports more
MAX_SPEED_KMH = 300.0
#: If a car had to be faster than this between two positions, one of them is wrong. Production cars are slower, aeroplanes
#: are faster.
MAX_JUMP_KMH = 350.0
#: A shorter way is never a jump: over a few metres an imprecise position is enough for any speed.
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
        id_field("vehicle_id", "Vehicle (ev_id of the session events); the Kafka key", required=True),
        id_field("ev_model_id", "Vehicle model in the reference data; null where unknown"),
        Field("occurred_at", FieldType.TIMESTAMP, "When the car was there", required=True),
        Field("latitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-90, maximum=90),
        Field("longitude", FieldType.DOUBLE, "WGS 84", required=True, unit="degree", minimum=-180, maximum=180),
        Field("heading", FieldType.DOUBLE, "Clockwise from north", unit="degree", minimum=0, maximum=360),
        Field("speed_kmh", FieldType.DOUBLE, "Speed", required=True, unit="km/h", minimum=0, maximum=MAX_SPEED_KMH),
        Field("ignition", FieldType.BOOLEAN, "Whether the car is switched on", required=True),
        Field(
            "state_of_charge", FieldType.DOUBLE, "Battery level", required=True, unit="percent", minimum=0, maximum=100
        ),
        Field("range_km", FieldType.DOUBLE, "How far the battery lasts", unit="km", minimum=0, maximum=MAX_RANGE_KM),
        id_field("destination_station_id", "Station that the car navigates to; null where unknown"),
    ),
)
