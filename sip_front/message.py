"""SIP messages: octets in, a value out, and back (RFC 3261 7 and 25).

Parsing cuts a message into start line, headers and body, and stops there: what a header means is read when somebody
asks (`top_via`, `from_`, `cseq`, ...). `validate` then asks for all that a transaction and a dialog stand on.
Every step reads its input once, and the limits below bound it.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable

from control_plane.errors import Misuse
from sip_front.header import (
    KNOWN,
    MAGIC_COOKIE,
    TOKEN,
    USUAL_ADDRESS,
    USUAL_VIA,
    BadMessage,
    Headers,
    NameAddress,
    Via,
    canonical,
    parse_name_address,
    parse_via,
    split_list,
)
from sip_front.uri import FORBIDDEN, BadUri, UnknownScheme, parse_number, parse_uri, quoted

# fmt: off
__all__ = [
    "MAGIC_COOKIE", "REASONS", "BadMessage", "Headers", "Message", "NameAddress", "Request", "Response", "Via", "canonical",
    "is_keepalive", "make_response", "parse", "parse_name_address", "parse_via", "split_list", "validate",
]
# fmt: on

# Each of these was an overflow or a memory hole in somebody's server; no honest message comes near.
MAX_HEAD = 64 * 1024  # octets up to the empty line: a datagram holds no more, and a stream must not grow without end
MAX_HEADERS = 200
MAX_VALUE = 8 * 1024
MAX_VIAS = 70  # Max-Forwards starts at 70 (RFC 3261 8.1.1.6): no message passed more proxies
MAX_BODY = 64 * 1024
MAX_CONTENT_LENGTH = 9_999_999_999  # ten digits: more wrapped round in somebody's 32 bits

STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\r\n]*))?", re.IGNORECASE | re.ASCII)
USUAL_REQUEST_LINE = re.compile(r'([A-Z]+) ([^\x00-\x20\x7f<>"\\]+) SIP/2\.0')
HOPS = {str(hops): hops for hops in range(256)}
USUAL_CSEQ = re.compile(r"([0-9]{1,9}) ([A-Z]+)", re.ASCII)
VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE | re.ASCII)
USUAL_TARGET = re.compile(
    r"sips?:(?:[A-Za-z0-9+\-_.]+@)?[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?(?::[0-9]{1,4})?"
    r"(?:;lr)?(?:;(?!lr[;=]|lr\Z)[A-Za-z]+=[A-Za-z0-9\-._]+)?",
    re.ASCII,
)
"""A URI that is right beyond doubt."""
FOLD = re.compile(r"\r\n[ \t]+")
TAG_KEY = secrets.token_bytes(16)

ONLY_ONCE = ("Call-ID", "Content-Length", "Content-Type", "CSeq", "From", "Max-Forwards", "To")
"""Two of these would let us and a proxy before us see different calls."""

# fmt: off
REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
    200: "OK", 202: "Accepted", 204: "No Notification",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone",
    413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    489: "Bad Event", 491: "Request Pending", 493: "Undecipherable",
    500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out",
    505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}
# fmt: on


class _Common:
    """What a request and a response share. Typed views raise BadMessage; each is parsed once while its header stays."""

    __slots__ = ("_addresses", "_via", "body", "headers")

    def __init__(self, headers: Headers | None, body: bytes) -> None:
        self.headers = Headers() if headers is None else headers
        self.body = body
        self._via: tuple[str, Via] | None = None
        self._addresses: dict[str, tuple[str, NameAddress]] = {}

    @property
    def top_via(self) -> Via:
        text = self._need("Via")
        if self._via is None or self._via[0] != text:
            self._via = text, parse_via(text)
        return self._via[1]

    @property
    def from_(self) -> NameAddress:
        return self._address("From", self._need("From"))

    @property
    def to(self) -> NameAddress:
        return self._address("To", self._need("To"))

    @property
    def contact(self) -> NameAddress | None:
        """The first; None: there is none. `uri` is "*" where a REGISTER says so."""
        text = self.headers.first.get("Contact")
        if text and "," in text:
            text = self.headers.get("Contact")
        return self._address("Contact", text) if text else None

    @property
    def call_id(self) -> str:
        return self._need("Call-ID")

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method. Below 2**31 by 8.1.1.5; all 32 bits are taken."""
        text = self._need("CSeq")
        usual = USUAL_CSEQ.fullmatch(text)
        if usual:
            return int(usual[1]), usual[2]
        number_text, _, method = text.replace("\t", " ").partition(" ")
        number, method = parse_number(number_text, 2**32 - 1), method.strip(" ")
        if number is None or not TOKEN.fullmatch(method):
            raise BadMessage(f"CSeq {quoted(text)} is not a number of 32 bits and a method")
        return number, method

    @property
    def max_forwards(self) -> int | None:
        text = self.headers.first.get("Max-Forwards")
        if text is None:
            return None
        hops = HOPS.get(text)
        if hops is None:
            hops = parse_number(text, 255)
        if hops is None:
            raise BadMessage(f"Max-Forwards {quoted(text)} is not a number from 0 to 255")
        return hops

    def _need(self, name: str) -> str:
        text = self.headers.first.get(name)
        if text and "," in text:
            text = self.headers.get(name)
        if not text:
            raise BadMessage(f"the message has no {name}")
        return text

    def _address(self, name: str, text: str) -> NameAddress:
        known = self._addresses.get(name)
        if known is None or known[0] != text:
            try:
                known = self._addresses[name] = text, parse_name_address(text)
            except BadMessage as failure:
                raise BadMessage(f"{name} {failure}") from failure
        return known[1]

    def _encode(self, start_line: str) -> bytes:
        lines = [start_line]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


class Request(_Common):
    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers | None = None, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    def encode(self) -> bytes:
        """Content-Length is ours, whatever the headers say. Raises Misuse for a method or URI that would break the line."""
        if not TOKEN.fullmatch(self.method) or not self.uri or FORBIDDEN.search(self.uri):
            raise Misuse(f"{quoted(self.method)} {quoted(self.uri)} is no start of a request")
        return self._encode(f"{self.method} {self.uri} SIP/2.0")

    def __repr__(self) -> str:
        return f"<{self.method} {quoted(self.uri)}>"


class Response(_Common):
    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str = "", headers: Headers | None = None, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def encode(self) -> bytes:
        if not 100 <= self.status <= 699 or "\r" in self.reason or "\n" in self.reason:
            raise Misuse(f"{self.status} {quoted(self.reason)} is no start of a response")
        return self._encode(f"SIP/2.0 {self.status} {self.reason}")

    def __repr__(self) -> str:
        return f"<{self.status} {quoted(self.reason)}>"


Message = Request | Response


def is_keepalive(octets: bytes) -> bool:
    """Line ends, NULs or nothing: what keeps a NAT open (RFC 5626 3.5.1). It wants no answer over UDP."""
    return not octets.strip(b"\r\n\0")


def parse(octets: bytes) -> Message:
    """One datagram. Raises BadMessage: `request` is then what could be read, to answer it."""
    if octets[:1] in (b"\r", b"\n"):
        octets = octets.lstrip(b"\r\n")  # 7.5
    end = octets.find(b"\r\n\r\n", 0, MAX_HEAD)
    text = octets[: MAX_HEAD if end < 0 else end].decode("utf-8", "surrogateescape")
    start_line, _, head = text.partition("\r\n")
    message, failure = _parse_start_line(start_line)
    unread = _read_headers(head, message.headers)
    failure = failure or unread
    if end < 0:
        is_too_large = len(octets) > MAX_HEAD
        failure = BadMessage("the headers exceed 64 KiB", 513) if is_too_large else BadMessage("no empty line ends the headers")
    if not failure:
        failure = _cut_body(message, octets[end + 4 :])
    if failure:
        failure.request = message if isinstance(message, Request) else None
        raise failure
    return message


def _parse_start_line(line: str) -> tuple[Message, BadMessage | None]:
    """Raises BadMessage where nothing can be answered; returns one where a request can be read, but not accepted."""
    usual = USUAL_REQUEST_LINE.fullmatch(line)
    if usual and len(line) <= MAX_VALUE:
        return Request(usual[1], usual[2]), None
    if "\r" in line or "\n" in line or len(line) > MAX_VALUE:
        raise BadMessage(f"{quoted(line)} is too long or broken by a lone CR or LF: no start of a SIP message")
    if line[:4].upper() == "SIP/":
        status = STATUS_LINE.fullmatch(line)
        if not status:
            raise BadMessage(f"{quoted(line)} is not a status line: SIP/2.0, a number from 100 to 699 and a reason")
        return Response(int(status[1]), status[2] or ""), None
    method, _, rest = line.rstrip(" \t").partition(" ")
    uri, _, version = rest.rpartition(" ")
    if not VERSION.fullmatch(version) or not TOKEN.fullmatch(method):
        raise BadMessage(f"{quoted(line)} is not the start of a SIP message")
    request = Request(method, uri)
    if version.upper() != "SIP/2.0":
        return request, BadMessage(f"{quoted(version)} is not a version that we speak; we speak SIP/2.0", 505)
    if not uri or FORBIDDEN.search(uri):
        return request, BadMessage(f"the Request-URI {quoted(uri)} holds a space, a quote, <> or a control character, or is empty")
    return request, None


def _read_headers(head: str, headers: Headers) -> BadMessage | None:
    """Adds what can be read, and returns the first thing that could not be."""
    if not head:
        return None
    failure = None
    lines = head.split("\r\n")
    if len(lines) > MAX_HEADERS:
        failure = BadMessage(f"{len(lines)} headers; we take {MAX_HEADERS}", 513)
        del lines[MAX_HEADERS:]
    if len(head) > MAX_VALUE:
        longest = max(lines, key=len, default="")
        if len(longest) > MAX_VALUE:
            failure = BadMessage(f"the header {quoted(longest, 40)} has {len(longest)} characters; we take {MAX_VALUE}", 513)
            lines = [line for line in lines if len(line) <= MAX_VALUE]
    items = headers.lines
    has_lone = not head.count("\r") == head.count("\n") == len(lines) - 1
    for line in lines:
        if has_lone and ("\n" in line or "\r" in line):  # a proxy that ends lines at LF alone would see other headers than we do
            failure = failure or BadMessage(f"{quoted(line)} ends in LF or CR alone; SIP ends lines with CR LF")
            continue
        name, colon, value = line.partition(":")
        known = KNOWN.get(name)
        if not known or not colon:
            if line[:1] in (" ", "\t"):  # a continued line: rare by now (7.3.1), so it is looked for here only
                if line is lines[0]:
                    failure = failure or BadMessage("the start line goes on in a second line")
                    continue
                headers.lines.clear()
                return _read_headers(FOLD.sub(" ", head), headers)
            try:
                known = canonical(name)
            except BadMessage as unnamed:
                failure = failure or unnamed
                continue
            if not colon:
                failure = failure or BadMessage(f"{quoted(line)} is not a header: it has no colon")
                continue
        items.append((known, value.strip(" \t")))
    return failure


def _cut_body(message: Message, rest: bytes) -> BadMessage | None:
    """Over UDP the datagram ends the body where no Content-Length does (18.3)."""
    headers = message.headers
    lengths = [value for name, value in headers.lines if name == "Content-Length"] if "Content-Length" in headers.first else []
    if not lengths:
        message.body = rest
        return None
    length = parse_number(lengths[0], MAX_CONTENT_LENGTH)
    if len(lengths) > 1 or length is None or len(lengths[0]) > 10:
        return BadMessage(f"Content-Length {quoted(', '.join(lengths))} is not one number")
    if length > len(rest):
        return BadMessage(f"Content-Length says {length} octets, and there are {len(rest)}")
    message.body = rest[:length]
    return None


def validate(message: Message) -> None:
    """What a transaction and a dialog stand on is there, once, and can be read (8.1.1, 8.2). Raises BadMessage with the status."""
    request = message if isinstance(message, Request) else None
    try:
        _validate_headers(message)
        if request:
            _validate_request(request)
    except BadMessage as failure:
        failure.request = request
        raise


def _validate_headers(message: Message) -> None:
    lines = message.headers.lines
    vias = [value for name, value in lines if name == "Via"]
    if len(lines) - len(message.headers.first) != len(vias) - 1:  # something beside Via stands there more than once
        names = [name for name, _ in lines]
        for name in ONLY_ONCE:
            if names.count(name) > 1:
                raise BadMessage(f"{name} stands there {names.count(name)} times, and only one is allowed")
    commas = "".join(vias).count(",")
    if commas > 2 * MAX_VIAS:  # of empty elements, too: before the list is taken apart
        raise BadMessage(f"{commas} commas in Via; we take {MAX_VIAS} Vias", 513)
    if commas:
        vias = message.headers.get_all("Via")
    if len(vias) > MAX_VIAS:
        raise BadMessage(f"{len(vias)} Vias; we take {MAX_VIAS}", 513)
    _ = message.top_via, message.from_, message.to, message.max_forwards
    for via in vias[1:]:
        usual = USUAL_VIA.fullmatch(via)
        if usual is None or (usual[4] and usual[7]):
            parse_via(via)
    call_id = message.call_id
    if " " in call_id or "\t" in call_id:
        raise BadMessage(f"Call-ID {quoted(call_id)} holds a space")
    if len(message.body) > MAX_BODY:
        raise BadMessage(f"a body of {len(message.body)} octets; we take {MAX_BODY}", 413)
    cseq_method = message.cseq[1]
    if isinstance(message, Request):
        if cseq_method != message.method:
            raise BadMessage(f"CSeq names {quoted(cseq_method)}, but the request is {message.method}")
    elif len(vias) > 1:
        raise BadMessage(f"a response with {len(vias)} Vias is for somebody else (8.1.3.3)")


def _validate_request(request: Request) -> None:
    try:
        uri = parse_uri(request.uri)
    except UnknownScheme as failure:
        raise BadMessage(str(failure), 416) from failure
    except BadUri as failure:
        raise BadMessage(f"the Request-URI: {failure}") from failure
    if uri.headers:
        raise BadMessage(f"the Request-URI {quoted(request.uri)} holds headers, which belong into the message (19.1.1)")
    first = request.headers.first
    for name in ("Record-Route", "Route"):
        if name not in first:
            continue
        marks = sum(value.count("<") for key, value in request.headers.lines if key == name)  # before lists are taken apart
        values = request.headers.get_all(name) if marks <= MAX_VIAS else []
        if max(marks, len(values)) > MAX_VIAS:  # who passed no more proxies names no more of them, and each costs a look
            raise BadMessage(f"{max(marks, len(values))} times {name}; we take {MAX_VIAS}", 513)
        for value in values:
            usual = USUAL_ADDRESS.fullmatch(value)
            _check_target(name, usual[2] if usual else parse_name_address(value).uri)
    contact = request.contact
    if contact and contact.uri != "*":
        _check_target("Contact", contact.uri)


def _check_target(name: str, uri: str) -> None:
    """A dialog will send to these."""
    if USUAL_TARGET.fullmatch(uri):
        return
    try:
        parse_uri(uri)
    except UnknownScheme:
        pass  # only who must send there need understand it
    except BadUri as failure:
        raise BadMessage(f"{name}: {failure}") from failure


def make_response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str | None = None,
) -> Response:
    """A response as 8.2.6 and 12.1.1 want it: Via, From, To, Call-ID and CSeq as they came, and Record-Route where a dialog begins.

    Works on what `BadMessage.request` holds, too: what is not there is left out. Above 100 a To without tag gets `to_tag`,
    or one that depends on the request alone, so that a stateless server answers each repeat alike (8.2.7).
    """
    copied = {"Via", "From", "To", "Call-ID", "CSeq"}
    if request.method == "INVITE" and 100 < status < 300:
        copied.add("Record-Route")
    if status == 100:
        copied.add("Timestamp")  # 8.2.6.1
    response = Response(status, REASONS.get(status, "Unknown") if reason is None else reason)
    response.headers.lines += [item for item in request.headers.items() if item[0] in copied]
    if status > 100:
        _add_tag(response, to_tag)
    for name, value in headers:
        response.headers.add(name, value)
    if content_type:
        response.headers.set("Content-Type", content_type)
    response.body = body
    return response


def _add_tag(response: Response, to_tag: str | None) -> None:
    to = response.headers.get("To")
    try:
        if not to or parse_name_address(to).tag:
            return
    except BadMessage:
        return  # it goes back as it came
    if not to_tag:
        named = "\n".join(response.headers.get(name) or "" for name in ("Via", "From", "Call-ID", "CSeq"))
        to_tag = hashlib.blake2b(named.encode("utf-8", "surrogateescape"), digest_size=8, key=TAG_KEY).hexdigest()
    response.headers.set("To", f"{to};tag={to_tag}")
