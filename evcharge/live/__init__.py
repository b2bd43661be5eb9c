"""The live path: what a station is doing now, and how much it was used hour by hour.

`station_state` and `usage` have the rules, which are pure. `station_folder`, `vehicle_positions` and `journal` write a batch of
records to the stores, inside Spark's workers. `refusals` says which of them a store refused, and `dead_letters` keeps these.
`stream_runner` runs the writers on Kafka. `rebuild` and `final_usage` compute the same results from the lake.
"""
