"""What a line of log looks like, whatever somebody sends us to be logged."""

import contextlib
import logging
import os
import select
import sys
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane import logs


def record(message: str, *arguments: object, level: int = logging.INFO, call_id: str = "") -> logging.LogRecord:
    made = logging.LogRecord("test", level, __file__, 1, message, arguments, None)
    made.call_id = call_id
    return made


TEXT = logs.LineHandler("front", is_json=False)
JSON = logs.LineHandler("front", is_json=True)


def test_a_line_names_process_level_message_and_call() -> None:
    line = TEXT.as_text(record("refused %s", "192.0.2.1", level=logging.WARNING, call_id="c-17"))
    assert line[12:] == " front     WARNING refused 192.0.2.1  [c-17]"
    assert TEXT.as_text(record("started")).endswith("INFO    started")


def test_json_holds_the_same() -> None:
    values = orjson.loads(JSON.as_json(record("refused %s", "192.0.2.1", call_id="c-17")))
    assert values.pop("time").endswith("+00:00")
    assert values == {"level": "INFO", "process": "front", "pid": os.getpid(), "message": "refused 192.0.2.1", "call_id": "c-17"}


def test_colour_is_round_the_level_only() -> None:
    handler = logs.LineHandler("front", is_json=False, is_coloured=True)
    assert "\x1b[31mERROR  \x1b[0m lost" in handler.as_text(record("lost", level=logging.ERROR))


@given(st.text(), st.text())
def test_nobody_forges_a_line_or_drives_the_terminal(message: str, call_id: str) -> None:
    line = TEXT.as_text(record("%s", message, call_id=call_id))
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    assert len(line.splitlines()) == 1
    assert b"\n" not in JSON.as_json(record("%s", message, call_id=call_id))


def test_a_line_is_bounded_and_says_what_was_cut() -> None:
    line = TEXT.as_text(record("x" * 100_000))
    assert len(line) < logs.MAX_MESSAGE_CHARACTERS + 100
    assert line.endswith("... (100000 characters)")


def test_arguments_that_do_not_fit_are_shown_and_nothing_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    TEXT.emit(record("%d calls", "many"))
    assert "%d calls ('many',)" in capfd.readouterr().err


def test_a_traceback_follows_indented_in_text_and_as_a_field_in_json() -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    first, *rest = TEXT.as_text(made).splitlines()
    assert first.endswith("failed") and rest[-1] == "    ValueError: the reason" and all(row.startswith("    ") for row in rest)
    assert "ValueError: the reason" in orjson.loads(JSON.as_json(made))["traceback"]


def test_a_closed_stderr_does_not_matter() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.LineHandler("front", is_json=False, fd=writer).emit(record("to nobody"))
    os.close(writer)
    logs.LineHandler("front", is_json=False, fd=writer).emit(record("to nothing"))


def fill(fd: int) -> None:
    """Until not a byte fits."""
    os.set_blocking(fd, False)
    for size in (65_536, 1):
        try:
            while True:
                os.write(fd, b"." * size)
        except BlockingIOError:
            continue
    os.set_blocking(fd, True)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.timeout(20)
def test_a_full_pipe_loses_lines_and_says_so_when_somebody_reads_again(own: bool) -> None:
    reader, writer = os.pipe()
    handler = logs.LineHandler("front", is_json=False, fd=logs.own_descriptor(writer) if own else writer)
    assert (handler.fd != writer) is own and os.get_blocking(writer)
    fill(writer)
    for n in range(3):
        handler.emit(record("unread %d", n))
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 65_536)
    handler.emit(record("read"))
    handler.emit(record("again"))
    loss, line, after = os.read(reader, 65_536).decode().splitlines()
    assert "WARNING 3 lines were lost because nobody read them" in loss
    assert line.endswith("read") and after.endswith("again")
    handler.close()
    if own:
        os.close(writer)
    os.close(reader)


@pytest.mark.timeout(20)
def test_a_terminal_that_stops_reading_holds_nobody_up() -> None:
    reader, writer = os.openpty()
    handler = logs.LineHandler("front", is_json=False, fd=logs.own_descriptor(writer))
    assert handler.fd != writer and os.get_blocking(writer)
    while handler.lost < 3:
        handler.emit(record("x" * 1500))
    select.select([reader], [], [])
    os.set_blocking(reader, False)
    text = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            text += os.read(reader, 65_536)
            time.sleep(0.01)
    handler.emit(record("read"))
    time.sleep(0.01)
    *_, loss, line = (text + os.read(reader, 65_536)).decode().splitlines()
    assert "lines were lost" in loss and line.endswith("INFO    read")
    handler.close()
    os.close(writer)
    os.close(reader)


def test_configure_replaces_what_was_there(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    monkeypatch.setenv("BELLFRAME_LOG_LEVEL", "warning")
    try:
        logs.configure("text", "front")
        logs.configure("json", "keeper")
        logging.getLogger("anything").info("hidden")
        logging.getLogger("anything").warning("shown", extra={"call_id": "c-1"})
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    (line,) = capfd.readouterr().err.splitlines()
    values = orjson.loads(line)
    assert (values["process"], values["message"], values["call_id"]) == ("keeper", "shown", "c-1")
