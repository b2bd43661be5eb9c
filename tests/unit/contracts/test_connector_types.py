"""One name for every connector type, whatever a source or a driver calls it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.contracts.connector_types import (
    CONNECTOR_TYPES,
    EITHER_OF,
    answers_to,
    asked_type,
    known_type,
    normalised,
)
from evcharge.errors import UserError
from simulation.network import CHADEMO, COMBO, J1772, TESLA

#: https://github.com/ocpi/ocpi/blob/2.3.0/mod_locations.asciidoc, ConnectorType
OCPI = """
    CHADEMO CHAOJI DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H DOMESTIC_I
    DOMESTIC_J DOMESTIC_K DOMESTIC_L DOMESTIC_M DOMESTIC_N DOMESTIC_O GBT_AC GBT_DC IEC_60309_2_single_16
    IEC_60309_2_three_16 IEC_60309_2_three_32 IEC_60309_2_three_64 IEC_62196_T1 IEC_62196_T1_COMBO IEC_62196_T2
    IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C MCS NEMA_5_20 NEMA_6_30 NEMA_6_50 NEMA_10_30 NEMA_10_50 NEMA_14_30
    NEMA_14_50 PANTOGRAPH_BOTTOM_UP PANTOGRAPH_TOP_DOWN SAE_J3400 TESLA_R TESLA_S
"""
AFDC = "NEMA1450 NEMA515 NEMA520 J1772 J1772COMBO CHADEMO TESLA J3271"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("ccs1", "J1772COMBO"),
        ("IEC_62196_T1_COMBO", "J1772COMBO"),
        ("J1772COMBO", "J1772COMBO"),
        ("CCS2", "IEC_62196_T2_COMBO"),
        ("CCS (Type 2)", "IEC_62196_T2_COMBO"),
        ("type2_combo", "IEC_62196_T2_COMBO"),
        ("Combo 2 (CCS)", "IEC_62196_T2_COMBO"),
        ("CCS Combo Type 2, 300 kW", "IEC_62196_T2_COMBO"),
        ("CCS", "CCS"),
        ("Combo", "CCS"),
        ("J1772", "J1772"),
        ("Type 1 (J1772)", "J1772"),
        ("type-2", "IEC_62196_T2"),
        ("Type 2 (max. 22 kW)", "IEC_62196_T2"),
        ("Type 2 (max. 22 kW", "IEC_62196_T2"),
        ("AC Steckdose Typ 2, 32 A", "IEC_62196_T2"),
        (" Mennekes ", "IEC_62196_T2"),
        ("2x Type 2", "IEC_62196_T2"),
        ("chademo", "CHADEMO"),
        ("CHAdeMO, 62.5 kW DC", "CHADEMO"),
        ("NACS", "TESLA"),
        ("NACS / J3400", "TESLA"),
        ("j3400", "TESLA"),
        ("TESLA_S", "TESLA"),
        ("Tesla", "TESLA"),
        ("NEMA 14-50", "NEMA1450"),
        ("DOMESTIC_B", "NEMA515"),
        ("Schuko", "DOMESTIC_F"),
        ("GB/T", "GBT"),
        ("MCS", "J3271"),
    ],
)
def test_a_connector_has_one_name_whatever_it_is_called(words: str, name: str) -> None:
    assert known_type(words) == normalised(words) == asked_type(words) == name


@pytest.mark.parametrize(
    "words", ["n.a.", "k.A.", ".", "", "?", "Tesla (Type 2)", "CCS / CHAdeMO", "Type 2 or so", "2 CCS"]
)
def test_what_names_no_connector_or_several_stays_as_it_is(words: str) -> None:
    assert known_type(words) is None
    assert normalised(f" {words} ") == words
    with pytest.raises(UserError, match="is not known; there are CCS, CCS1, CCS2, NACS"):
        asked_type(words)


def test_every_name_of_ocpi_and_afdc_is_known() -> None:
    assert {name: known_type(name) for name in OCPI.split() if not known_type(name)} == {}
    assert [known_type(name) for name in AFDC.split()] == AFDC.split()
    assert {J1772, COMBO, CHADEMO, TESLA} <= CONNECTOR_TYPES.keys()


def test_no_word_means_two_connectors() -> None:
    assert all(asked_type(word) == name for name, words in CONNECTOR_TYPES.items() for word in (name, *words))


def test_ccs_finds_both_connectors_and_each_finds_one_that_is_only_called_ccs() -> None:
    assert {name for name in CONNECTOR_TYPES if "CCS" in answers_to(name)} == {"CCS", *EITHER_OF["CCS"]}
    assert {name for name in CONNECTOR_TYPES if "J1772COMBO" in answers_to(name)} == {"CCS", "J1772COMBO"}
    assert answers_to("TESLA") == ("TESLA",)
    assert answers_to("n.a.") == ("n.a.",)


@given(st.text(max_size=60))
def test_a_name_is_one_of_ours_or_stays_as_it_is(text: str) -> None:
    name = normalised(text)
    assert name in CONNECTOR_TYPES or name == text.strip()
    assert normalised(name) == name
