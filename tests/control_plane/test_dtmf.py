"""The keys, by name, code and pitch."""

import pytest

from control_plane.dtmf import KEYPAD, KEYS, MAX_KEYS, frequencies_hz, why_not_keys


def test_every_key_has_two_pitches_of_its_own() -> None:
    assert sorted("".join(KEYPAD)) == sorted(KEYS)
    assert len({frequencies_hz(key) for key in KEYS}) == len(KEYS) == 16


@pytest.mark.parametrize(("key", "pitches"), [("1", (697, 1209)), ("5", (770, 1336)), ("#", (941, 1477)), ("D", (941, 1633))])
def test_pitches_are_those_of_q_23(key: str, pitches: tuple[int, int]) -> None:
    assert frequencies_hz(key) == pitches


@pytest.mark.parametrize("keys", ["0", "12#", "*,,abcd", "1" * MAX_KEYS])
def test_what_can_be_pressed(keys: str) -> None:
    assert why_not_keys(keys) == ""


@pytest.mark.parametrize(
    ("keys", "why"),
    [("", "0 keys"), ("1" * (MAX_KEYS + 1), "65 keys"), ("12E", "'E' is no key"), ("1 2", "' ' is no key"), ("\u0663", "is no key")],
)
def test_what_cannot_is_said_with_the_remedy(keys: str, why: str) -> None:
    assert why in why_not_keys(keys)
