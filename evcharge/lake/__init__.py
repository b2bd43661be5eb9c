"""The raw archive: every Kafka record, once, in a lakeFS repository, with a branch for each attempt at a publication.

`publish.py` has the whole protocol. Its steps are `planner`, `candidate`, `gates` and `archive`; `ledger` has what main
remembers of a topic, `repository` the lakeFS calls.
"""
