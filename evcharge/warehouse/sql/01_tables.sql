CREATE TABLE IF NOT EXISTS dim_time
(
    time_id     UInt32 COMMENT 'Hour of the day in UTC as YYYYMMDDHH; key',
    hour_at     DateTime('UTC') COMMENT 'Start of the hour, UTC',
    date        Date COMMENT 'Day, UTC',
    year        UInt16 COMMENT 'Year, UTC',
    month       UInt8 COMMENT 'Month 1-12, UTC',
    day         UInt8 COMMENT 'Day of the month, UTC',
    hour        UInt8 COMMENT 'Hour 0-23, UTC',
    iso_weekday UInt8 COMMENT 'Day of the week, Monday 1 to Sunday 7, UTC',
    is_weekend  Bool COMMENT 'Saturday or Sunday, UTC'
)
ENGINE = MergeTree ORDER BY time_id
COMMENT 'Every hour from the first event day on; facts refer to it by start and end hour';

CREATE TABLE IF NOT EXISTS dim_station
(
    station_id      String COMMENT 'Charging station (OCPI location); key',
    station_name    String COMMENT 'Name shown to drivers',
    city            LowCardinality(String) COMMENT 'City; empty where unknown',
    state           LowCardinality(String) COMMENT 'State or region; empty where unknown',
    zip             String COMMENT 'Postal code, leading zeros kept; empty where unknown',
    country         LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2 country code; empty where unknown',
    time_zone       LowCardinality(String) COMMENT 'IANA time zone; local dates and hours of the facts follow it',
    longitude       Float64 COMMENT 'WGS 84, degrees',
    latitude        Float64 COMMENT 'WGS 84, degrees',
    status_code     LowCardinality(String) COMMENT 'E open, P planned, T closed for now',
    connector_types Array(String) COMMENT 'Distinct connector types',
    total_outlets   UInt32 COMMENT 'Connectors that can be used at once',
    max_power_kw    Nullable(Float64) COMMENT 'Power of the strongest connector, kW; null where unknown',
    network         LowCardinality(String) COMMENT 'Operator network; empty where unknown',
    source          LowCardinality(String) COMMENT 'Feed that named the station',
    observed_at     DateTime64(3, 'UTC') COMMENT 'When the registry last named it, UTC',
    removed_at      Nullable(DateTime64(3, 'UTC')) COMMENT 'When a snapshot of its scope no longer had it, UTC; null: it is there'
)
ENGINE = MergeTree ORDER BY station_id
COMMENT 'One row per charging station, as the registry describes it now';

-- a warehouse that was made before this column existed lacks it
ALTER TABLE dim_station
    ADD COLUMN IF NOT EXISTS removed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When a snapshot of its scope no longer had it, UTC; null: it is there';

CREATE TABLE IF NOT EXISTS dim_vehicle
(
    vehicle_id          String COMMENT 'Vehicle (ev_id of the events); key; empty: the source does not tell',
    ev_model_id         LowCardinality(String) COMMENT 'Vehicle model, as the newest session that names one has it; empty where unknown',
    first_seen_date     Date COMMENT 'UTC day of the first session that ended'
)
ENGINE = ReplacingMergeTree ORDER BY vehicle_id
COMMENT 'One row per vehicle that ever charged; read it with FINAL';

CREATE TABLE IF NOT EXISTS dim_ev_model
(
    ev_model_id               String COMMENT 'Vehicle model; key',
    make                      LowCardinality(String) COMMENT 'Maker of the vehicle; empty where unknown',
    model                     String COMMENT 'Model and version; empty where unknown',
    usable_kwh                Float64 COMMENT 'Battery that can be used, kWh',
    ac_kw                     Float64 COMMENT 'Onboard charger: most power on AC, kW',
    dc_kw                     Nullable(Float64) COMMENT 'Most power on DC, kW (source kaggle: mean of a fast charge); null if it cannot fast charge',
    consumption_kwh_per_100km Float64 COMMENT 'Consumption, kWh per 100 km',
    connector_types           Array(String) COMMENT 'Connectors that it takes',
    source                    LowCardinality(String) COMMENT 'Where the figures come from'
)
ENGINE = MergeTree ORDER BY ev_model_id
COMMENT 'One row per vehicle model of the reference data';

CREATE TABLE IF NOT EXISTS fact_charging_sessions
(
    session_id           String COMMENT 'Session; one row for each station and session id',
    station_id           String COMMENT 'Station, key of dim_station',
    evse_id              String COMMENT 'EVSE within the station',
    connector_id         String COMMENT 'Connector of the EVSE; empty where unknown',
    vehicle_id           String COMMENT 'Vehicle, key of dim_vehicle; empty where unknown',
    start_time_id        UInt32 COMMENT 'UTC hour of started_at, key of dim_time',
    end_time_id          UInt32 COMMENT 'UTC hour of ended_at, key of dim_time',
    started_at           DateTime64(3, 'UTC') COMMENT 'Plugged in, UTC',
    ended_at             DateTime64(3, 'UTC') COMMENT 'Unplugged, UTC; its day is the partition',
    local_date           Date COMMENT 'Day of started_at at the station',
    local_hour           UInt8 COMMENT 'Hour 0-23 of started_at at the station',
    energy_delivered_kwh Decimal(12, 3) COMMENT 'Energy at the connector, kWh, to the Wh',
    duration_s           Float64 COMMENT 'Plugged in, seconds',
    idle_s               Nullable(Float64) COMMENT 'Plugged in after charging had ended, seconds; null where the source does not tell',
    queue_wait_s         Nullable(Float64) COMMENT 'Wait for a free EVSE before the start, seconds; null where the source does not tell',
    soc_start_percent    Nullable(Float64) COMMENT 'Battery level at the start, percent; null where the source does not tell',
    soc_end_percent      Nullable(Float64) COMMENT 'Battery level at the end, percent; null where the source does not tell',
    end_reason           LowCardinality(String) COMMENT 'Why it stopped (OCPP 2.0.1 ReasonEnumType); empty where the source does not tell',
    publication_id       LowCardinality(String) COMMENT 'Publication of the lake that brought the stopped event',
    ev_model_id          LowCardinality(String) COMMENT 'Vehicle model as the session names it; empty where unknown'
)
ENGINE = MergeTree PARTITION BY toDate(ended_at, 'UTC') ORDER BY (station_id, started_at, session_id)
COMMENT 'One row per finished charging session (CDR); partition = UTC day of ended_at';

-- a warehouse that was made before this column existed lacks it
ALTER TABLE fact_charging_sessions
    ADD COLUMN IF NOT EXISTS ev_model_id LowCardinality(String) COMMENT 'Vehicle model as the session names it; empty where unknown';

CREATE TABLE IF NOT EXISTS session_end
(
    station_id       String COMMENT 'Station of the session',
    session_id       String COMMENT 'Session, unique within its station',
    topic_generation Int32 COMMENT 'Counts the topics of one name',
    kafka_partition  Int32 COMMENT 'Kafka partition of the record',
    kafka_offset     Int64 COMMENT 'Offset of the record in its partition',
    sequence         Int32 COMMENT 'Place of the event in its session: the same for a re-sent event',
    ended_on         Date COMMENT 'UTC day of the end that the record names'
)
ENGINE = ReplacingMergeTree ORDER BY (station_id, session_id, topic_generation, kafka_partition, kafka_offset)
SETTINGS index_granularity = 256
COMMENT 'One row per stopped record of the loaded days: of a session the first one in Kafka counts, the others do not';

CREATE TABLE IF NOT EXISTS fact_vehicle_positions
(
    vehicle_id             String COMMENT 'Vehicle, key of dim_vehicle once it has charged',
    occurred_at            DateTime64(3, 'UTC') COMMENT 'When the car was there, UTC; its day is the partition',
    position_time_id       UInt32 COMMENT 'UTC hour of occurred_at, key of dim_time',
    latitude               Float64 COMMENT 'WGS 84, degrees',
    longitude              Float64 COMMENT 'WGS 84, degrees',
    heading                Nullable(Float64) COMMENT 'Clockwise from north, degrees; null where the car does not tell',
    speed_kmh              Float64 COMMENT 'Speed, km/h',
    ignition               Bool COMMENT 'Whether the car is switched on',
    soc_percent            Float64 COMMENT 'Battery level, percent',
    range_km               Nullable(Float64) COMMENT 'What the battery lasts for, km; null where the car does not tell',
    destination_station_id String COMMENT 'Station that the car navigates to, key of dim_station; empty where unknown',
    publication_id         LowCardinality(String) COMMENT 'Publication of the lake that brought the message'
)
ENGINE = MergeTree PARTITION BY toDate(occurred_at, 'UTC') ORDER BY (vehicle_id, occurred_at)
COMMENT 'Where connected cars were: changes of ignition and destination, else one row per 5 minutes driving, per hour parked';

CREATE TABLE IF NOT EXISTS loaded_day
(
    table_name   LowCardinality(String) COMMENT 'Table whose day was loaded',
    date         Date COMMENT 'UTC day; 1970-01-01 for a table without days',
    lake_commit  String COMMENT 'Commit of the lake that the rows were read from',
    row_count    UInt64 COMMENT 'Rows of the day',
    run_id       String COMMENT 'Dagster run that loaded it',
    loaded_at    DateTime64(3, 'UTC') COMMENT 'When, UTC',
    loader       String COMMENT 'What computed the rows, a hash; a day of another loader is read in full by its next load'
)
ENGINE = ReplacingMergeTree(loaded_at) ORDER BY (table_name, date)
COMMENT 'Which lake commit each day was last loaded from; written last, so a killed load is repeated';

-- a warehouse that was made before this column existed lacks it
ALTER TABLE loaded_day
    ADD COLUMN IF NOT EXISTS loader String COMMENT 'What computed the rows, a hash; a day of another loader is read in full by its next load';
