"""Places by name, ZIP and coordinates."""

from __future__ import annotations

import time

import pytest

from evcharge.errors import UserError
from evcharge.trips.gazetteer import find, load, suggest
from evcharge.trips.roads import great_circle_km

#: State, capital, and the coordinates of its capitol (Wikipedia's list of state capitals), to a tenth of a degree.
CAPITALS = """
AL Montgomery 32.4 -86.3; AK Juneau 58.3 -134.4; AZ Phoenix 33.4 -112.1; AR Little Rock 34.7 -92.3;
CA Sacramento 38.6 -121.5; CO Denver 39.7 -105.0; CT Hartford 41.8 -72.7; DE Dover 39.2 -75.5; FL Tallahassee 30.4 -84.3;
GA Atlanta 33.7 -84.4; HI Honolulu 21.3 -157.9; ID Boise 43.6 -116.2; IL Springfield 39.8 -89.7; IN Indianapolis 39.8 -86.2;
IA Des Moines 41.6 -93.6; KS Topeka 39.0 -95.7; KY Frankfort 38.2 -84.9; LA Baton Rouge 30.5 -91.2; ME Augusta 44.3 -69.8;
MD Annapolis 39.0 -76.5; MA Boston 42.4 -71.1; MI Lansing 42.7 -84.6; MN Saint Paul 45.0 -93.1; MS Jackson 32.3 -90.2;
MO Jefferson City 38.6 -92.2; MT Helena 46.6 -112.0; NE Lincoln 40.8 -96.7; NV Carson City 39.2 -119.8; NH Concord 43.2 -71.5;
NJ Trenton 40.2 -74.8; NM Santa Fe 35.7 -105.9; NY Albany 42.7 -73.8; NC Raleigh 35.8 -78.6; ND Bismarck 46.8 -100.8;
OH Columbus 40.0 -83.0; OK Oklahoma City 35.5 -97.5; OR Salem 44.9 -123.0; PA Harrisburg 40.3 -76.9; RI Providence 41.8 -71.4;
SC Columbia 34.0 -81.0; SD Pierre 44.4 -100.3; TN Nashville 36.2 -86.8; TX Austin 30.3 -97.7; UT Salt Lake City 40.8 -111.9;
VT Montpelier 44.3 -72.6; VA Richmond 37.5 -77.4; WA Olympia 47.0 -122.9; WV Charleston 38.3 -81.6; WI Madison 43.1 -89.4;
WY Cheyenne 41.1 -104.8
"""


@pytest.mark.parametrize("capital", [text.strip() for text in CAPITALS.split(";")])
def test_every_state_capital_is_found_by_its_name_with_and_without_the_state(capital: str) -> None:
    state, *name, latitude, longitude = capital.split()
    for text in (f"{' '.join(name)}, {state}", f"{' '.join(name)} {state}".lower()):
        place = find(text).place
        assert place.state_code == state
        assert great_circle_km(place.latitude, place.longitude, float(latitude), float(longitude)) < 25
    found = find(" ".join(name))
    assert state in {place.state_code for place in (found.place, *found.others)}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("los angeles", "Los Angeles, CA"),
        ("LOS  ANGELES , california", "Los Angeles, CA"),
        ("Los Angeles, CA, USA", "Los Angeles, CA"),
        ("St. Louis MO", "Saint Louis, MO"),
        ("Saint Paul", "Saint Paul, MN"),
        ("St Paul, Minnesota", "Saint Paul, MN"),
        ("Winston-Salem", "Winston Salem, NC"),
        ("Washington DC", "Washington, DC"),
        ("Washington, D.C.", "Washington, DC"),
        ("Washington", "Washington, DC"),
        ("New York", "New York, NY"),
        ("NYC", "New York, NY"),
        ("New York, New York", "New York, NY"),
        ("Queens, NY", "Jamaica, NY"),
        ("The Bronx", "Bronx, NY"),
        ("Lexington-Fayette, Kentucky", "Lexington, KY"),
        ("Ft Worth", "Fort Worth, TX"),
        ("Missoula, MT", "Missoula, MT"),
        ("Coeur d'Alene", "Coeur D Alene, ID"),
        ("O'Fallon, Missouri", "O Fallon, MO"),
        ("Cañon City", "Canon City, CO"),
        ("Kansas City, KS", "Kansas City, KS"),
        ("Kansas City", "Kansas City, MO"),
        ("Springfield, Illinois", "Springfield, IL"),
        ("Charleston, South Carolina", "Charleston, SC"),
        ("90012", "90012 Los Angeles, CA"),
        (" 90012-1234 ", "90012 Los Angeles, CA"),
        ("34.05,-118.24", "34.05,-118.24"),
        ("-33.9; 18.4", "-33.9,18.4"),
        ("10.5 20", "10.5,20"),
    ],
)
def test_a_place_is_found(text: str, name: str) -> None:
    assert find(text).place.name == name


def test_other_places_of_the_same_name_are_listed() -> None:
    found = find("Springfield")
    names = {place.name for place in (found.place, *found.others)}
    assert {"Springfield, IL", "Springfield, MA", "Springfield, MO"} <= names
    assert find("Springfield, MO").others == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Los Angles", '"Los Angeles, CA"'),
        ("Bostn, MA", '"Boston, MA"'),
        ("Springfield, Texas", '"Springfield, MA"'),
        ("California", "is a state"),
        ("99999", "ZIP 99999 is not known"),
        ("91,5", "latitude 91 is off the globe"),
        ("5,181", "longitude 181 is off the globe"),
        ("nan,5", "latitude nan is off the globe"),
        ("5,inf", "longitude inf is off the globe"),
        ("1e999,3", "latitude inf is off the globe"),
        ("", "a place is needed"),
        ("  ", "a place is needed"),
        ("qqqqqqqq", "give a US place"),
        ("ü" * 101, "at most 100 characters"),
        ("<script>alert(1)</script>", "no US place"),
        ("'; DROP TABLE stations; --", "no US place"),
        ('{"query": {"match_all": {}}}', "no US place"),
        ("\r\nSet-Cookie: a=b", "no US place"),
        ("!!!", "no US place"),
    ],
)
def test_what_is_no_place_is_answered_in_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        find(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert "\r" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("los an", "Los Angeles, CA"),
        ("LOS", "Los Angeles, CA"),
        ("angeles", "Los Angeles, CA"),
        ("ft w", "Fort Worth, TX"),
        ("cañon", "Canon City, CO"),
        ("springfield, mo", "Springfield, MO"),
        ("boston ma", "Boston, MA"),
        ("9001", "90010 Los Angeles, CA"),
        ("34.05,-118.24", "34.05,-118.24"),
        ("nyc", "New York, NY"),
    ],
)
def test_a_beginning_suggests_places(text: str, first: str) -> None:
    names = [place.name for place in suggest(text, 8)]
    assert first in names[:3]
    assert len(names) <= 8
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", ["", " ", "qqq", "91,5", "x" * 200, "%", "\x00", ","])
def test_a_beginning_of_nothing_suggests_nothing(text: str) -> None:
    assert suggest(text, 8) == []


@pytest.mark.slow
def test_suggestions_come_while_typing() -> None:
    """The limit is 20 ms for 95 of 100 beginnings; they take 1 to 10 ms here."""
    load()
    texts = [
        name[:length] for name in ("los angeles", "san francisco", "new york", "saint louis") for length in range(1, 9)
    ]
    took_s = []
    for text in texts * 3:
        began = time.thread_time()
        suggest(text, 8)
        took_s.append(time.thread_time() - began)
    assert sorted(took_s)[int(len(took_s) * 0.95)] < 0.02
