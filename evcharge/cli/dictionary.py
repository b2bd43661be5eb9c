"""`evcharge dictionary`: writes the data dictionary."""

from __future__ import annotations

from typing import Annotated

import typer

from evcharge.cli.output import say


def dictionary(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if the file is not up to date.")
    ] = False,
) -> None:
    """Write docs/data-dictionary.md from the contracts and the SQL comments. Outside a clone, print it instead."""
    from evcharge.dictionary import render
    from evcharge.errors import UserError
    from evcharge.settings import IS_CLONE, PROJECT, require_clone

    if check:
        require_clone("`evcharge dictionary --check`")
    text = render()
    if not IS_CLONE:
        say(*text.splitlines())
        return
    path = PROJECT / "docs" / "data-dictionary.md"
    if check:
        if not path.exists() or path.read_text() != text:
            raise UserError(f"{path} is not up to date; run `evcharge dictionary`")
        return
    path.write_text(text)
    say(f"written: {path}")
