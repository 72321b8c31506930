"""One event is one line on stderr: readable for people, or an object of JSON for machines.

A line says the time, the process, the level, the message, and the call it is about: pass
`extra={"call_id": call_id}`. What far ends put into their messages ends up here, so a line is bounded and
control characters are escaped: nobody forges a line or drives a terminal. Logging never raises, and never waits for
a reader: what a pipe or terminal that has stopped cannot take is lost, and counted in the next line that it takes.
"""

import datetime
import logging
import os
import re
import select
import stat
import sys
import time
import traceback

import orjson

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 8_000
SRTP_KEY = re.compile(r"(inline\s*:)\s*[^|;\s\\'\"]*", re.IGNORECASE)
COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[1;31m", logging.DEBUG: "\x1b[2m"}
ESCAPES = {c: f"\\x{c:02x}" for c in (*range(32), *range(127, 160), 0x2028, 0x2029)} | {10: "\\n", 13: "\\r", 9: "\\t"}
# Characters that turn the writing direction or hide themselves: a line must read as it was written.
ESCAPES |= {c: f"\\u{c:04x}" for c in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)}


def configure(log_format: str, process: str) -> None:
    """Send this process's log lines to stderr. `log_format` is "text" or "json"; `process` names it in every line.

    BELLFRAME_LOG_LEVEL=DEBUG shows more. May be called again: the last call counts.
    """
    handler = LineHandler(process, is_json=log_format == "json", is_coloured=_wants_colour(), fd=own_descriptor(2))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        if isinstance(old, LineHandler):
            old.close()
    root.addHandler(handler)
    level = os.environ.get("BELLFRAME_LOG_LEVEL", "INFO").upper()
    root.setLevel(level if level in logging.getLevelNamesMapping() else "INFO")
    for noisy in ("numba", "matplotlib", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _wants_colour() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


def own_descriptor(fd: int) -> int:
    """The same pipe or terminal, opened anew so as not to block us alone: O_NONBLOCK holds for all who share a descriptor.

    `fd` itself if it is neither, or may not be opened: a file never blocks, and of a socket poll() says enough.
    """
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or os.isatty(fd):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        pass
    return fd


class LineHandler(logging.Handler):
    """Writes each record as one line with one system call, so lines of several processes do not mix."""

    def __init__(self, process: str, is_json: bool, is_coloured: bool = False, fd: int = 2) -> None:
        super().__init__()
        self.process, self.is_json, self.is_coloured, self.fd = process, is_json, is_coloured, fd
        self.lost = 0
        """Lines that nobody read, since the last one that somebody did."""
        self.is_cut = False
        """The last line was taken in part: the next one begins on a line of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._has_room():
                self.lost += 1
                return
            text = b"\n" * self.is_cut + (self._line(self._loss()) if self.lost else b"") + self._line(record)
            written = os.write(self.fd, text)
            self.is_cut = written < len(text)
            self.lost = self.lost + 1 if self.is_cut else 0
        except BlockingIOError:
            self.lost += 1
        except Exception:
            # A line that is lost is better than a call that is: there is nowhere left to report it to.
            return

    def close(self) -> None:
        if self.fd > 2:
            os.close(self.fd)
            self.fd = 2
        super().close()

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.as_json(record) if self.is_json else self.as_text(record).encode("utf-8", "replace")) + b"\n"

    def _loss(self) -> logging.LogRecord:
        message = "%d lines were lost because nobody read them" if self.lost > 1 else "%d line was lost because nobody read it"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (self.lost,), None)

    def as_text(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level, call_id = record.levelname, str(getattr(record, "call_id", "") or "")
        coloured = f"{COLOURS.get(record.levelno, '')}{level:<7}\x1b[0m" if self.is_coloured else f"{level:<7}"
        line = f"{clock}.{int(record.msecs):03d} {self.process:<9} {coloured} {clean(message_of(record))}"
        if call_id:
            line += f"  [{clean(call_id, 80)}]"
        trace = traceback_of(record)
        if trace:
            line += "".join(f"\n    {clean(row)}" for row in trace.splitlines())
        return line

    def as_json(self, record: logging.LogRecord) -> bytes:
        values: dict[str, str | int] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self.process,
            "pid": os.getpid(),
            "message": clean(message_of(record)),
        }
        call_id = str(getattr(record, "call_id", "") or "")
        if call_id:
            values["call_id"] = clean(call_id, 80)
        trace = traceback_of(record)
        if trace:
            values["traceback"] = trace.encode("utf-8", "replace").decode()
        return orjson.dumps(values)


def message_of(record: logging.LogRecord) -> str:
    """The message with its arguments; one that does not fit them is shown as it is, not lost."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"


def traceback_of(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    text = "".join(traceback.format_exception(*record.exc_info))
    # The end says what happened.
    return text if len(text) <= MAX_TRACEBACK_CHARACTERS else "...\n" + text[-MAX_TRACEBACK_CHARACTERS:]


def without_keys(text: str) -> str:
    """The SRTP keys of a=crypto lines taken out: a log or a trace that has them lets anybody listen."""
    return SRTP_KEY.sub(r"\1(hidden)", text)


def clean(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """`text` in one line of at most about `limit` characters, nothing in it that a terminal would obey, and no key."""
    text = without_keys(text)
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    return text.translate(ESCAPES).encode("utf-8", "replace").decode()
