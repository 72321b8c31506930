"""The question about hostile input, asked shortly; and what it says of a front that is broken."""

import pathlib

import pytest

from bench import hostile_input
from bench.hostile_input import LIFE, Mutator, Target, Wrong, answer, seeds
from sip_front.front import Front
from sip_front.message import Headers


def test_a_front_takes_what_is_spoilt(tmp_path: pathlib.Path) -> None:
    found = answer(messages=3 * LIFE, seed=7, found=str(tmp_path))
    assert (found["messages"], found["raised"], found["took over 5 ms"]) == (3 * LIFE, 0, 0), found
    assert 200 < found["read as SIP"] < 2 * LIFE, "some of it is right, and most is not"
    assert not list(tmp_path.iterdir())


LISTS = {
    "Route": ",".join(["<sip:h;lr>"] * 700),
    "Record-Route": ",".join(["<sip:h;lr>"] * 700),
    "Via": ",".join(["SIP/2.0/UDP h;branch=z9hG4bK1"] * 260),
    "v": "," * 8_000,
    "Authorization": "Digest " + ",".join(f'p{n}="v"' for n in range(870)),
    "P-Asserted-Identity": '"\\"' * 2_600,
    "Supported": "," * 8_000,
    "Session-Expires": "1800;" + ";".join(f"p{n}=v" for n in range(1_000)),
}


@pytest.mark.parametrize("name", LISTS)
def test_long_lists_cost_no_more_than_others(name: str) -> None:
    """As many as the head of a message can hold. 5 ms is the bar; a slow machine and a cold start are not the point."""
    octets = next(seed for seed in seeds() if seed.startswith(b"INVITE sip:100@") and b"Authorization" not in seed)
    worst = octets.replace(b"Max-Forwards", f"{name}: {LISTS[name]}\r\n".encode() * 7 + b"Max-Forwards", 1)
    target = Target()
    assert len(worst) > 48_000 and min(target._cpu_ns(worst) for _ in range(5)) < hostile_input.SLOW_NS


def test_the_same_seed_spoils_alike() -> None:
    one, other, third = (Mutator(seeds(), seed) for seed in (1, 1, 2))
    assert [one.next() for _ in range(50)] == [other.next() for _ in range(50)] != [third.next() for _ in range(50)]


def test_what_raises_is_told_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def break_down(*_: object) -> None:
        raise KeyError("m")

    monkeypatch.setattr(Front, "receive_sip", break_down)
    found = answer(messages=20, seed=7, found=str(tmp_path))
    assert found["raised"] == 20 and list(found["kinds"].values()) == [20] and len(list(tmp_path.iterdir())) == 2


def test_a_printer_that_loses_a_header_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = next(seed for seed in seeds() if seed.startswith(b"OPTIONS") and b"\r\nSupported: timer" in seed)
    target = Target()
    target.take(octets)
    monkeypatch.setattr(Headers, "items", lambda headers: iter([line for line in headers.lines if line[0] != "Supported"]))
    monkeypatch.setattr(hostile_input, "meaning", lambda message: message.headers.lines)
    with pytest.raises(Wrong, match="printed it means something else"):
        target.take(octets)
