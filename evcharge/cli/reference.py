"""`evcharge reference`: stations and EV models in MongoDB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evcharge.reference.collections import Upserted
    from evcharge.reference.kaggle import ReferenceFile

app = typer.Typer(no_args_is_help=True, help="Reference data in MongoDB: stations and EV models.")

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


@app.command()
def load(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Kaggle's charging_stations.csv and electric_vehicles.csv")
    ] = None,
    list_refused: Annotated[bool, typer.Option("--refused", help="list every refused row")] = False,
    as_json: AsJson = False,
) -> None:
    """Load Kaggle's files, told apart by their header; without a file, the bundled stations and models.

    Rows that can not be true are refused and reported with their reasons. The same file again changes nothing.
    """
    from datetime import UTC, datetime

    from evcharge.reference import collections as reference
    from evcharge.reference import kaggle
    from evcharge.settings import load_settings

    settings = load_settings()
    reference.ensure(settings)
    if not files:
        done = {
            reference.STATIONS: reference.upsert_stations(settings, reference.bundled_stations()),
            reference.EV_MODELS: reference.upsert_models(settings, reference.bundled_models()),
        }
        if as_json:
            typer.echo(json.dumps({name: _counts(upserted) for name, upserted in done.items()}, indent=2))
            return
        for name, upserted in done.items():
            typer.echo(f"bundled {name}: {_told(upserted)}")
        return
    # all are read before any is loaded: a wrong file among them is no half-done load
    read = [kaggle.read(path, datetime.now(UTC)) for path in files]
    upsert = {"stations": reference.upsert_stations, "ev_models": reference.upsert_models}
    loaded = [(file, upsert[file.kind](settings, file.rows)) for file in read]
    if as_json:
        typer.echo(json.dumps([_as_json(file, upserted, list_refused) for file, upserted in loaded], indent=2))
        return
    for file, upserted in loaded:
        _show(file, upserted, list_refused)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what the collections hold, by source, and when it was loaded."""
    from rich.console import Console
    from rich.table import Table

    from evcharge.reference.collections import held
    from evcharge.settings import load_settings

    found = held(load_settings())
    if as_json:
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
        typer.echo(json.dumps(rows, indent=2))
        return
    if not found:
        typer.echo("no reference data yet: `evcharge reference load` loads the bundled stations and models")
        return
    table = Table("collection", "source", "documents", "removed", "last change", box=None, pad_edge=False)
    for part in found:
        at = f"{part.loaded_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(part.collection, part.source, f"{part.documents:,}", f"{part.removed:,}", at)
    Console().print(table)


def _show(file: ReferenceFile, upserted: Upserted, list_refused: bool) -> None:
    typer.echo(f"{file.path.name}: {len(file.rows):,} {file.kind} loaded: {_told(upserted)}")
    if file.refused:
        typer.echo(f"  {len(file.refused):,} of {len(file.rows) + len(file.refused):,} rows refused; reasons, of rows:")
    for code, texts in file.reasons().items():
        typer.echo(f"  {code}: {texts.total():,}")
        for text, rows in texts.most_common():
            typer.echo(f"    {rows:>6,}  {text}")
    for row in file.refused if list_refused else ():
        typer.echo(f"  line {row.line} ({row.name}): {'; '.join(reason.text for reason in row.reasons)}")


def _as_json(file: ReferenceFile, upserted: Upserted, list_refused: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
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
        told["refused_rows"] = [
            {"line": row.line, "name": row.name, "reasons": [reason.text for reason in row.reasons]}
            for row in file.refused
        ]
    return told


def _counts(upserted: Upserted) -> dict[str, int]:
    return {
        "inserted": upserted.inserted,
        "changed": upserted.changed,
        "unchanged": upserted.unchanged,
        "older": upserted.older,
    }


def _told(upserted: Upserted) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _counts(upserted).items() if count or name != "older")
