"""The `evcharge` command: one module per area; `app` assembles them."""


def main() -> None:
    """Runs the command; the entry point of the installed script."""
    from evcharge.cli import app

    app.main()
