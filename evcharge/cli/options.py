"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

Wait = Annotated[bool, typer.Option("--wait", help="Return when the warehouse has what was sent.")]
WaitTimeout = Annotated[int, typer.Option("--timeout", help="With --wait: the longest wait, in seconds.")]

Strict = Annotated[bool, typer.Option("--strict", help="Stop at an impossible row instead of dropping it.")]
SiteId = Annotated[str | None, typer.Option(help="ACN and EPFL style: the station id of another site.")]
SiteName = Annotated[str | None, typer.Option(help="The site's name, by default its station id.")]
SiteLatitude = Annotated[float | None, typer.Option(min=-90, max=90, help="The site's latitude, degrees north.")]
SiteLongitude = Annotated[float | None, typer.Option(min=-180, max=180, help="The site's longitude, degrees east.")]
SiteTimeZone = Annotated[str | None, typer.Option(help="The site's IANA time zone, e.g. Europe/Zurich.")]

Columns = Annotated[
    str | None,
    typer.Option(
        help="The names of a table's columns: started_at=plug_in,ended_at=DATE+TIME,energy_kwh=kWh. "
        "docs/formats.md has all names."
    ),
]
TableTimeZone = Annotated[
    str | None, typer.Option("--time-zone", help="The IANA time zone of times that do not say their own.")
]
DayFirst = Annotated[
    bool | None,
    typer.Option("--day-first/--month-first", help="Whether 07.11. is in November, where no row of the file shows it."),
]
DecimalComma = Annotated[
    bool | None,
    typer.Option(
        "--decimal-comma/--decimal-point", help="Whether 12,345 is 12.345, where nothing in the file shows it."
    ),
]
DateFormat = Annotated[
    str | None,
    typer.Option(help="The form of times, as Python's strptime has it: '%d.%m.%y %H:%M'. `excel`: day numbers."),
]
