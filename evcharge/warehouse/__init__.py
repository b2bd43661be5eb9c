"""The ClickHouse star schema: its SQL (`sql/`), its tables (`schema`), and how each is loaded (`load_*`)."""
