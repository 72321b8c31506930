"""bellframe capture, as far as it goes without a server; the rest is in tests/system/test_call_capture.py."""

import pathlib
from collections.abc import Callable, Iterator

import pytest

from control_plane.command import main
from control_plane.commands.call_capture import address_towards, keys_text
from control_plane.messages import CaptureCall, Capturing, Done, Failed, Message, SrtpKeys
from tests.control_plane.test_client import Exchange


def answer(message: Message) -> list[Message]:
    match message:
        case CaptureCall(call_id="c"):
            return [Capturing("c", 0, 1, "127.0.0.1")]
        case CaptureCall(call_id="older"):
            return [Done()]
    return [Failed("there is no call x: `bellframe calls` lists those that are up", 404)]


@pytest.fixture
def capture(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    exchange = Exchange(tmp_path, answer)

    def run(*words: str) -> tuple[int, str]:
        return main(["capture", *words, "--runtime-dir", str(tmp_path)]), capsys.readouterr().err

    yield run
    exchange.close()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("x",), "there is no call x"),
        (("c", "--file", "-", "--encrypted"), "name one with --file"),
        (("older",), "of another release"),
        (("c",), "cannot read the packets"),
    ],
)
def test_what_cannot_be_captured_says_why(capture: Callable[..., tuple[int, str]], words: tuple[str, ...], why: str) -> None:
    code, error = capture(*words)
    assert code == 1 and why in error


def test_keys_are_written_as_other_programs_take_them() -> None:
    text = keys_text("c", [SrtpKeys("AES_CM_128_HMAC_SHA1_80", b"\x00" * 30, b"\xff" * 30)])
    assert text.splitlines()[1:] == [
        "received AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40,
        "sent AES_CM_128_HMAC_SHA1_80 inline:" + "/" * 40,
    ]


def test_our_own_address_is_the_one_towards_the_far_end() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1" and address_towards("nonsense") == ""
