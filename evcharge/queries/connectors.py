"""Connector types by the names that drivers use."""

from __future__ import annotations

import re

from evcharge.errors import UserError

#: The registry's connector types, each with the names that drivers and other standards use. The types are AFDC's words, and
#: OCPI's word for the one type that AFDC does not have. J3271 is the Megawatt Charging System.
CONNECTORS = {
    "J1772": ("Type 1", "SAE J1772", "IEC_62196_T1"),
    "J1772COMBO": ("CCS", "CCS1", "Combo", "IEC_62196_T1_COMBO"),
    "CHADEMO": ("CHAdeMO",),
    "TESLA": ("NACS", "J3400", "SAE J3400"),
    "IEC_62196_T2": ("Type 2", "Mennekes"),
    "J3271": ("MCS", "SAE J3271"),
    "NEMA515": ("NEMA 5-15",),
    "NEMA520": ("NEMA 5-20",),
    "NEMA1450": ("NEMA 14-50",),
}


def connector_type(word: str) -> str:
    """The registry's name of a connector, for any spelling. Raises UserError, which lists the known connectors."""
    found = _BY_WORD.get(_plain(word))
    if found is None:
        known = ", ".join(f"{name} ({words[0]})" for name, words in CONNECTORS.items())
        raise UserError(f"connector {word!r} is not known; there are {known}")
    return found


def _plain(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.casefold())


_BY_WORD = {_plain(word): name for name, words in CONNECTORS.items() for word in (name, *words)}
