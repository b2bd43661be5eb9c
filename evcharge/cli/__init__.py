"""The `evcharge` command: one module per area; `app` assembles them."""
