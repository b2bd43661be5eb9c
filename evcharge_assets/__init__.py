"""The Dagster asset graph: thin assets and checks over the library `evcharge`.

Asset keys follow one rule, `<store>/<name>`: the store that holds the asset (kafka, lake, clickhouse) or the feed that
makes it (feeds), then the name of topic, table or view in lower snake case. The group is the store.
"""
