"""The sources of the pages: nothing is fetched from elsewhere, and no data is ever read as HTML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "dashboard" / "web"
SOURCES = sorted(path for path in (WEB / "src").rglob("*") if path.suffix in {".ts", ".js", ".css", ".svg"})
#: Names of XML namespaces, which nobody fetches.
NAMESPACES = {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(WEB)))
def test_no_source_makes_html_of_text_or_names_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(
        r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|eval)\b", text
    )
    assert set(re.findall(r"https?://[^\s\"'`)>]+", text)) <= NAMESPACES


def test_the_lock_names_no_registry() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if name and "integrity" not in package]


def _rules(sheet: str) -> dict[str, str]:
    """The declarations of a style sheet by their selector, without those in blocks such as `@media`."""
    text = (WEB / "src" / "styles" / sheet).read_text(encoding="utf-8")
    return {
        selector.strip(): inner for selector, inner in re.findall(r"^([^\s@}/][^{}]*)\{([^{}]*)\}", text, re.MULTILINE)
    }


def _colours(theme: str) -> dict[str, str]:
    (inner,) = [inner for selector, inner in _rules("tokens.css").items() if f'[data-theme="{theme}"]' in selector]
    return dict(re.findall(r"(--[\w-]+): (#\w{6});", inner))


def _light(colour: str) -> float:
    """The relative luminance by WCAG 2, of a colour as "#rrggbb"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("sheet", "selector"),
    [
        ("parts.css", ".chart .value"),
        ("parts.css", ".chart .other"),
        ("parts.css", ".chart .gap"),
        ("station.css", ".chart .dot"),
        ("station.css", ".key::before"),
        ("station.css", ".key-dot::before"),
        ("station.css", ".key-other::before"),
    ],
)
def test_what_a_chart_shows_stands_out_of_its_card(sheet: str, selector: str, theme: str) -> None:
    """3:1 is what WCAG 2.1 (1.4.11) asks of marks that carry meaning."""
    (name,) = re.findall(r"(?:fill|stroke|background): var\((--[\w-]+)\)", _rules(sheet)[selector])
    colours = _colours(theme)
    dark, light = sorted((_light(colours[name]), _light(colours["--card"])))
    assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".css"], ids=lambda path: path.name)
def test_no_text_is_as_wide_as_it_likes(path: Path) -> None:
    """`max-content` makes the page wider than a phone, whatever its own `max-width` in percent says: `fit-content` does not."""
    assert not re.search(r"\bwidth: max-content", path.read_text(encoding="utf-8"))
