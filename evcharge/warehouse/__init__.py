"""The ClickHouse star schema: its SQL (`sql/`), its making (`schema`), its loading from the lake (`load`)."""
