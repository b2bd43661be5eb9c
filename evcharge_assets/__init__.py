"""The Dagster asset graph: thin assets and checks over the library `evcharge`.

Asset keys follow one rule, `<store>/<name>`. The first part is the store that holds the asset (kafka, lake, clickhouse), or
`feeds` for what a feed sends. The second part is the name of the topic, table or view in lower snake case. The group is the
store.
"""
