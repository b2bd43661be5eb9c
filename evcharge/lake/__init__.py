"""The raw archive: every Kafka record, once, in a lakeFS repository; one branch per publication.

`publish.py` tells the whole protocol; `planner`, `candidate`, `checks` and `archive` are its steps, `ledger` what it
remembers, `repository` the lakeFS calls.
"""
