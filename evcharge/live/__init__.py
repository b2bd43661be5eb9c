"""The live path: what a station is doing now, and how much it was used hour by hour.

`state` and `usage` are the rules, pure; `stations`, `vehicles`, `journal` and `hours` write to the stores what a batch of
events changed; `stream` runs them on Kafka, `rebuild` and `final` compute the same from the lake.
"""
