"""Messages out of a stream: RFC 3261 18.3, with the keepalives of RFC 5626 3.5.1. Octets in, whole messages out, no I/O.

A stream may be cut anywhere, so nothing is looked at twice and nothing is kept beyond the bounds of message.py. After
something that is no SIP, where the next message begins cannot be known: the connection must be closed.
"""

import re

from sip_front.message import MAX_BODY, MAX_HEAD, MAX_VALUE

PING, PONG = b"\r\n\r\n", b"\r\n"
END = b"\r\n\r\n"
FIRST = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]")  # of a method, or of SIP/2.0
FOLD = re.compile(rb"\r\n[ \t]+")
LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:([^\r\n]*)(?=\r\n|\Z)", re.IGNORECASE)
NUMBER = re.compile(rb"[0-9]{1,10}")


class Framer:
    """`failure` is empty, or why nothing after what was returned can be read."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.searched = 0
        """So many octets of the buffer hold no end of a head."""
        self.size = 0
        """Of the message that is being collected, with its body; 0: its head has no end yet."""
        self.line_ends = 0
        """CR LFs since the last message: two of them are a ping."""
        self.failure = ""

    @property
    def is_within(self) -> bool:
        """A message has begun, and not ended."""
        return bool(self.buffer)

    def receive(self, octets: bytes) -> list[bytes]:
        """Whole messages, and PING, once at most, where an answer is wanted. With `failure`, the last may be a head alone, for a 400."""
        self.buffer += octets
        found: list[bytes] = []
        while self.buffer and not self.failure:
            if not self.size and not self.searched and not self._skip_line_ends(found):
                break
            if not self.size and not self._find_end(found):
                break
            if len(self.buffer) < self.size:
                break
            found.append(bytes(self.buffer[: self.size]))
            del self.buffer[: self.size]
            self.size = self.searched = 0
        if self.failure:
            self.buffer.clear()
        return found

    def _skip_line_ends(self, found: list[bytes]) -> bool:
        """7.5: any number of them may come before a message. False: there is nothing else yet."""
        at = 0
        while self.buffer.startswith(PONG, at):
            at, self.line_ends = at + 2, self.line_ends + 1
            if self.line_ends == 2:
                self.line_ends = 0
                if PING not in found:  # a flood of them is worth one answer
                    found.append(PING)
        del self.buffer[:at]
        if not self.buffer or self.buffer == b"\r":
            return False
        self.line_ends = 0
        if not FIRST.match(self.buffer):
            self.failure = "what came is not SIP"
        return not self.failure

    def _find_end(self, found: list[bytes]) -> bool:
        """Of the head; learns the size of the whole. False: it is not there yet, or `failure`."""
        end = self.buffer.find(END, max(0, self.searched - 3), MAX_HEAD)
        self._check_start_line()
        if self.failure:
            return False
        if end < 0:
            self.searched = len(self.buffer)
            if self.searched >= MAX_HEAD:
                self.failure = f"a head of more than {MAX_HEAD // 1024} KiB"
            return False
        head = bytes(self.buffer[:end])
        if b"\r\n " in head or b"\r\n\t" in head:
            head = FOLD.sub(b" ", head)  # as the parser does it: both must see the same headers
        lengths = [value.strip(b" \t") for value in LENGTH.findall(head)]
        if len(lengths) != 1 or not NUMBER.fullmatch(lengths[0]):
            self.failure = "no Content-Length that is one number, so its end cannot be known (RFC 3261 18.3)"
        elif int(lengths[0]) > MAX_BODY:
            self.failure = f"a body of {int(lengths[0])} octets; we take {MAX_BODY}"
        if self.failure:
            found.append(bytes(self.buffer[: end + 4]))
            return False
        self.size = end + 4 + int(lengths[0])
        return True

    def _check_start_line(self) -> None:
        """TLS on the port for TCP, HTTP and the like are known by their first line."""
        if self.searched > MAX_VALUE:
            return
        end = self.buffer.find(PONG, 0, MAX_VALUE)
        if (end >= 0 and b"SIP/" not in self.buffer[:end].upper()) or (end < 0 and len(self.buffer) >= MAX_VALUE):
            self.failure = "what came is not SIP"
