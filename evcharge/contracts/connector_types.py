"""Connector types: one name for each, and the names that registries, recorded files and drivers use instead.

The names are those of AFDC (the US Alternative Fuels Data Center), and OCPI 2.3's where AFDC has none. The other names are
those of OCPI 2.2.1 and 2.3, OCPP 2.1, Open Charge Map and OpenStreetMap, and what drivers say. Case, blanks and punctuation
do not matter, nor does a remark at the end: `Type 2 (max. 22 kW)`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from evcharge.errors import UserError


def _ccs(number: int) -> tuple[str, ...]:
    """The names of CCS1 or CCS2: CCS, Combo or both, with the number behind, or with `Type` and the number anywhere."""
    systems = ("CCS", "Combo", "CCS Combo", "Combo CCS")
    types = (f"Type {number}", f"Typ {number}")
    behind = (f"{system} {form}" for system in systems for form in (number, *types))
    before = (f"{form} {system}" for system in systems for form in types)
    between = (f"{one} {form} {other}" for one, other in (systems[:2], systems[1::-1]) for form in (number, *types))
    return (*behind, *before, *between)


#: Each connector type with its other names. J3271 is the Megawatt Charging System. SAE J3400 is NACS, the connector that
#: AFDC and this platform call TESLA. CCS and GBT are for sources that do not say which of the two connectors they mean.
CONNECTOR_TYPES: dict[str, tuple[str, ...]] = {
    "J1772": ("Type 1", "Typ 1", "SAE J1772", "IEC_62196_T1", "IEC 62196 Type 1", "IEC 62196-2 Type 1", "cType1"),
    "J1772COMBO": ("CCS (SAE)", "SAE Combo", "SAE J1772 Combo", "IEC_62196_T1_COMBO", "cCCS1", *_ccs(1)),
    "CHADEMO": ("CHAdeMO", "cG105"),
    "TESLA": (
        *("NACS", "J3400", "SAE J3400", "TESLA_S", "cTesla", "cNACS", "Tesla NACS", "NACS J3400", "SAE J3400 NACS"),
        *("North American Charging Standard", "Tesla Supercharger", "Tesla (Model S/X)", "Tesla Destination"),
        "Tesla Wall Connector",
    ),
    "IEC_62196_T2": (
        *("Type 2", "Typ 2", "Mennekes", "Type 2 Mennekes", "Mennekes Type 2", "IEC 62196 Type 2"),
        *("IEC 62196-2 Type 2", "cType2", "sType2"),
    ),
    "IEC_62196_T2_COMBO": ("cCCS2", "Typ Combo 2", *_ccs(2)),
    "CCS": ("Combo", "Combined Charging System", "CCS Combo", "Combo CCS"),
    "IEC_62196_T3A": ("Type 3A",),
    "IEC_62196_T3C": ("Type 3", "Type 3C", "Scame", "sType3"),
    "GBT_AC": ("GB/T AC", "GB/T 20234.2", "GB-T AC - GB/T 20234.2"),
    "GBT_DC": ("GB/T DC", "GB/T 20234.3", "GB-T DC - GB/T 20234.3"),
    "GBT": ("GB/T", "GB/T 20234"),
    "CHAOJI": ("CHAdeMO 3", "CHAdeMO 3.0"),
    "J3271": ("MCS", "SAE J3271", "cMCS", "Megawatt Charging System"),
    "TESLA_R": ("Tesla Roadster",),
    "NEMA515": ("NEMA 5-15", "NEMA 5-15R", "DOMESTIC_B"),
    "NEMA520": ("NEMA 5-20", "NEMA 5-20R"),
    "NEMA1450": ("NEMA 14-50", "NEMA 14-50R"),
    **dict.fromkeys(("NEMA_6_30", "NEMA_6_50", "NEMA_10_30", "NEMA_10_50", "NEMA_14_30"), ()),
    "DOMESTIC_A": ("NEMA 1-15",),
    "DOMESTIC_C": ("Europlug", "CEE 7/16", "CEE 7/17"),
    "DOMESTIC_D": (),
    "DOMESTIC_E": ("Type E", "CEE 7/5"),
    "DOMESTIC_F": ("Schuko", "Type F", "CEE 7/4", "CEE 7/4 - Schuko - Type F"),
    "DOMESTIC_G": ("Type G", "BS 1363", "BS 1363 3 Pin 13 Amp"),
    "DOMESTIC_H": ("SI 32",),
    "DOMESTIC_I": ("Type I", "AS 3112"),
    "DOMESTIC_J": ("Type J", "SEV 1011", "T13", "T23"),
    "DOMESTIC_K": (),
    "DOMESTIC_L": ("Type L", "CEI 23-16", "CEI 23-16-VII"),
    "DOMESTIC_M": ("BS 546",),
    "DOMESTIC_N": ("NBR 14136",),
    "DOMESTIC_O": ("TIS 166-2549",),
    "IEC_60309_2_single_16": ("CEE blue", "CEE 16 blue", "CEE 3 Pin"),
    "IEC_60309_2_three_16": ("CEE red 16", "CEE 16 red"),
    "IEC_60309_2_three_32": ("CEE red 32", "CEE 32 red"),
    "IEC_60309_2_three_64": ("CEE red 64", "CEE 64 red", "CEE red 63", "CEE 63 red"),
    "PANTOGRAPH_BOTTOM_UP": (),
    "PANTOGRAPH_TOP_DOWN": (),
}
#: The connectors that may be meant by a type that does not say which.
EITHER_OF = {"CCS": ("J1772COMBO", "IEC_62196_T2_COMBO"), "GBT": ("GBT_AC", "GBT_DC")}

#: What may stand beside a connector's name without changing it.
_REMARK = re.compile(
    r"""\b (?: \d+ (?: [.,]\d+ )? \s* (?: kw | kva | a | amps? | v | volts? | x ) | max | up \s to | ac | dc | fast | only
        | sockets? | outlets? | plugs? | cables? | tethered | attached | connectors? | inlet | coupler
        | steckdose | kupplung | fahrzeugkupplung | stecker | kabel ) \b""",
    re.VERBOSE,
)
_IN_BRACKETS = re.compile(r"[(\[{]([^)\]}]*)[)\]}]?")
_BETWEEN_NAMES = re.compile(r"[/,;|+&]|\s[-\u2013]\s")


# Files have few different names, and a name is looked up for each of their rows.
@lru_cache(maxsize=1_000)
def known_type(text: str) -> str | None:
    """The connector type that `text` names; None if it names none that is known, or several."""
    words = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    if whole := _type_of(words):
        return whole
    remarks = [_type_of(part) for remark in _IN_BRACKETS.findall(words) for part in _parts(remark)]
    parts = [part for part in _parts(_IN_BRACKETS.sub(" ", words)) if _plain(part)]
    named = {_type_of(part) for part in parts} | ({*remarks} - {None})
    named -= {wide for wide, narrower in EITHER_OF.items() if named & {*narrower}}
    return named.pop() if len(named) == 1 else None


def normalised(text: str) -> str:
    """The connector type that `text` names. A text that names none stays as it is, without blanks around it."""
    return known_type(text) or text.strip()


def asked_type(text: str) -> str:
    """The connector type that a question names. Raises UserError, which gives the common names."""
    found = known_type(text)
    if found is None:
        raise UserError(
            f"connector {text!r} is not known; there are CCS, CCS1, CCS2, NACS, CHAdeMO, Type 1, Type 2, "
            "and all connector types of AFDC and OCPI, e.g. NEMA1450, GBT_DC"
        )
    return found


def answers_to(connector_type: str) -> tuple[str, ...]:
    """The types by which a question finds a connector of this type, which may be an unknown one.

    CCS finds CCS1 and CCS2. CCS1 and CCS2 find a connector of which only CCS is known.
    """
    wider = (name for name, narrower in EITHER_OF.items() if connector_type in narrower)
    return (connector_type, *EITHER_OF.get(connector_type, ()), *wider)


def _parts(words: str) -> list[str]:
    """The names in a text, without remarks."""
    return [words] if _type_of(words) else _BETWEEN_NAMES.split(_REMARK.sub(" ", words))


def _type_of(words: str) -> str | None:
    return _BY_WORD.get(_plain(words))


def _plain(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.casefold())


_BY_WORD = {_plain(word): name for name, words in CONNECTOR_TYPES.items() for word in (name, *words)}
