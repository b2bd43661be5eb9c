"""`evcharge reference`: stations and EV models in MongoDB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evcharge.cli.options import AsJson
from evcharge.cli.output import plain_table, print_table, say, show

if TYPE_CHECKING:
    from evcharge.reference.kaggle import ReferenceFile
    from evcharge.reference.mongodb import Held, Upserted

app = typer.Typer(no_args_is_help=True, help="Load and look at the reference data in MongoDB: stations and EV models.")


@app.command()
def load(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Kaggle's charging_stations.csv and electric_vehicles.csv.")
    ] = None,
    list_refused: Annotated[bool, typer.Option("--refused", help="List every refused row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load Kaggle's files or, without a file, the bundled stations and models.

    A file's header shows which of the two it is. Rows that cannot be true are refused, and reported with their reasons.
    Loading the same file again changes nothing.
    """
    from datetime import UTC, datetime

    from evcharge.reference import kaggle
    from evcharge.reference import mongodb as reference
    from evcharge.reference.bundled import bundled_models, bundled_stations
    from evcharge.settings import load_settings

    settings = load_settings()
    reference.ensure(settings)
    if not files:
        done = {
            reference.STATIONS: reference.upsert_stations(settings, bundled_stations()),
            reference.EV_MODELS: reference.upsert_models(settings, bundled_models()),
        }
        show({name: _counts(upserted) for name, upserted in done.items()}, as_json, lambda: _print_bundled(done))
        return
    # all are read before any is loaded, so that a wrong file leaves nothing half done
    read = [kaggle.read(path, datetime.now(UTC)) for path in files]
    upsert = {"stations": reference.upsert_stations, "ev_models": reference.upsert_models}
    loaded = [(file, upsert[file.kind](settings, file.rows)) for file in read]
    reports = [_report(file, upserted, list_refused) for file, upserted in loaded]
    show(reports, as_json, lambda: _print_loaded(loaded, list_refused))


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how many documents the collections hold from each source, and when they last changed."""
    from evcharge.reference.mongodb import held
    from evcharge.settings import load_settings

    found = held(load_settings())
    rows = [
        {
            "collection": part.collection,
            "source": part.source,
            "documents": part.documents,
            "removed": part.removed,
            "loaded_at": part.loaded_at.isoformat(),
        }
        for part in found
    ]
    show(rows, as_json, lambda: _print_held(found))


def _print_held(found: list[Held]) -> None:
    if not found:
        say("no reference data yet: `evcharge reference load` loads the bundled stations and models")
        return
    table = plain_table("collection", "source", "documents", "removed", "last change")
    for part in found:
        at = f"{part.loaded_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(part.collection, part.source, f"{part.documents:,}", f"{part.removed:,}", at)
    print_table(table)


def _print_bundled(done: dict[str, Upserted]) -> None:
    for name, upserted in done.items():
        say(f"bundled {name}: {_counts_text(upserted)}")


def _print_loaded(loaded: list[tuple[ReferenceFile, Upserted]], list_refused: bool) -> None:
    for file, upserted in loaded:
        say(f"{file.path.name}: {len(file.rows):,} {file.kind} loaded: {_counts_text(upserted)}")
        if file.refused:
            rows = len(file.rows) + len(file.refused)
            say(f"  {len(file.refused):,} of {rows:,} rows refused; rows by reason:")
        for code, texts in file.reasons().items():
            say(f"  {code}: {texts.total():,}")
            for text, count in texts.most_common():
                say(f"    {count:>6,}  {text}")
        for row in file.refused if list_refused else ():
            say(f"  line {row.line} ({row.name}): {'; '.join(reason.text for reason in row.reasons)}")


def _report(file: ReferenceFile, upserted: Upserted, list_refused: bool) -> dict[str, Any]:
    report: dict[str, Any] = {
        "file": str(file.path),
        "collection": file.kind,
        "rows": len(file.rows) + len(file.refused),
        **_counts(upserted),
        "refused": len(file.refused),
        "reasons": {
            code: {"rows": texts.total(), "texts": dict(texts.most_common())} for code, texts in file.reasons().items()
        },
    }
    if list_refused:
        report["refused_rows"] = [
            {"line": row.line, "name": row.name, "reasons": [reason.text for reason in row.reasons]}
            for row in file.refused
        ]
    return report


def _counts(upserted: Upserted) -> dict[str, int]:
    return {
        "inserted": upserted.inserted,
        "changed": upserted.changed,
        "unchanged": upserted.unchanged,
        "older": upserted.older,
    }


def _counts_text(upserted: Upserted) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _counts(upserted).items() if count or name != "older")
