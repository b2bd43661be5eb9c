CREATE OR REPLACE VIEW v_charging_sessions AS
SELECT
    f.session_id AS session_id,
    f.station_id AS station_id,
    s.station_name AS station_name,
    s.city AS city,
    s.state AS state,
    s.zip AS zip,
    s.country AS country,
    s.network AS network,
    s.source AS source,
    s.latitude AS latitude,
    s.longitude AS longitude,
    s.total_outlets AS total_outlets,
    s.max_power_kw AS max_power_kw,
    f.evse_id AS evse_id,
    f.connector_id AS connector_id,
    f.vehicle_id AS vehicle_id,
    v.ev_model_id AS ev_model_id,
    f.started_at AS started_at,
    f.ended_at AS ended_at,
    s.time_zone AS time_zone,
    f.local_date AS local_date,
    f.local_hour AS local_hour,
    f.energy_delivered_kwh AS energy_delivered_kwh,
    f.duration_s AS duration_s,
    f.idle_s AS idle_s,
    f.queue_wait_s AS queue_wait_s,
    f.soc_start_percent AS soc_start_percent,
    f.soc_end_percent AS soc_end_percent,
    f.end_reason AS end_reason,
    f.publication_id AS publication_id
FROM fact_charging_sessions AS f
LEFT JOIN dim_station AS s ON s.station_id = f.station_id
LEFT JOIN (SELECT * FROM dim_vehicle FINAL) AS v ON v.vehicle_id = f.vehicle_id
COMMENT 'Finished charging sessions with their station and vehicle: the place to start';
