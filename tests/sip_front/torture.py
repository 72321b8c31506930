"""Messages of RFC 4475 and RFC 5118, "SIP Torture Test Messages", with what the RFCs want of each.

The messages stand in rfc/ as the RFCs write them, with their marks for long lines, repetitions and octets (RFC 4475 2).
"""

import pathlib
import re
from typing import NamedTuple

FOLDER = pathlib.Path(__file__).parent / "rfc"
HEADING = re.compile(r"^==== (\S+) (\S+)\n", re.MULTILINE)
REPEAT = re.compile(r"<repeat count=(\d+)>(.*?)</repeat>")
ONE_LINE = re.compile(r"<allOneLine>\n(.*?)\n</allOneLine>", re.DOTALL)
HEX = re.compile(rb"<hex>([0-9A-F\s]*)</hex>")


class Outcome(NamedTuple):
    verdict: int | None
    """Of the parser. None: well formed, to be taken. Else what a server answers; for a response, that it is thrown away."""
    answer: int
    """What a server sends in the end, and the last thing that it sends; 0: nothing."""
    on_stream: int | None = None
    """Where that differs over TCP and TLS."""
    is_answerable: bool = True


class Case(NamedTuple):
    name: str
    section: str
    octets: bytes
    outcome: Outcome


def wire(text: str) -> bytes:
    """Lines end in CR LF on the wire; in files and tests they are written plainly."""
    return text.removeprefix("\n").replace("\n", "\r\n").encode()


def decode(text: str) -> bytes:
    text = REPEAT.sub(lambda mark: int(mark[1]) * mark[2], text)
    text = ONE_LINE.sub(lambda mark: mark[1].replace("\n", ""), text)
    return HEX.sub(lambda mark: bytes.fromhex(mark[1].decode()), wire(text))


# fmt: off
TAKEN_OPTIONS, TAKEN_CALL, TAKEN_PHONE = Outcome(None, 200), Outcome(None, 200), Outcome(None, 200)
DROPPED, IGNORED = Outcome(400, 0, is_answerable=False), Outcome(None, 0)
REFUSED = Outcome(400, 400)
OUTCOMES = {
    # RFC 4475 3.1.1: valid
    "wsinv": Outcome(None, 481),       # it names a call, and we do not have it
    "intmeth": Outcome(None, 501), "esc01": TAKEN_CALL,
    "escnull": Outcome(None, 401),     # well formed, and of a user that is not ours
    "esc02": Outcome(None, 501),       # %47 is no G in a method, so this is no REGISTER
    "lwsdisp": TAKEN_OPTIONS, "longreq": TAKEN_CALL,
    "dblreq": Outcome(None, 200, 401), # what follows is noise in a datagram, and in a stream something that comes before the password
    "semiuri": TAKEN_OPTIONS, "transports": TAKEN_OPTIONS, "mpart01": Outcome(None, 405), "unreason": IGNORED, "noreason": IGNORED,
    # 3.1.2: invalid
    "badinv01": REFUSED,
    "clerr": Outcome(400, 400, 0),     # a stream waits for the rest, until connection_start_seconds
    "ncl": REFUSED, "scalar02": REFUSED, "scalarlg": DROPPED, "quotbal": REFUSED, "ltgtruri": REFUSED, "lwsruri": REFUSED,
    "lwsstart": REFUSED,               # or taken, by who is liberal
    "trws": TAKEN_OPTIONS,             # or refused
    "escruri": REFUSED, "baddate": TAKEN_CALL, "regbadct": REFUSED,
    "badaspec": TAKEN_OPTIONS,         # or refused: the spaces mislead nobody
    "baddn": TAKEN_OPTIONS,            # or refused: telephones forget the quotes
    "badvers": Outcome(505, 505), "mismatch01": REFUSED,
    "mismatch02": REFUSED,             # or 501
    "bigcode": DROPPED,
    # 3.2 to 3.4: transactions, what applications see, and RFC 2543
    "badbranch": TAKEN_OPTIONS,        # or refused; taken as one of RFC 2543
    "insuf": REFUSED, "unkscm": Outcome(416, 416), "novelsc": Outcome(416, 416),
    "unksm2": Outcome(None, 400),      # a registrar wants a sip: URI in To
    "bext01": Outcome(None, 420), "invut": Outcome(None, 415), "regaut01": Outcome(None, 200), "multi01": REFUSED, "mcl01": REFUSED,
    "bcast": DROPPED, "zeromf": TAKEN_OPTIONS, "cparam01": TAKEN_PHONE, "cparam02": TAKEN_PHONE, "regescrt": TAKEN_PHONE,
    "sdp01": Outcome(None, 406),
    "inv2543": Outcome(None, 200, 400), # without Content-Length it has no end in a stream
    # RFC 5118
    "ipv6-good": TAKEN_PHONE, "ipv6-bad": REFUSED, "port-ambiguous": TAKEN_PHONE, "port-unambiguous": TAKEN_PHONE,
    "via-received-param-with-delim": Outcome(None, 481), "via-received-param-no-delim": TAKEN_OPTIONS,
    "ipv6-in-sdp": Outcome(None, 488), # read; but its only codec is one that we lack
    "mult-ip-in-header": Outcome(None, 481), "mult-ip-in-sdp": TAKEN_CALL,
    "ipv4-mapped-ipv6": Outcome(None, 488),
    "ipv6-bug-abnf-3-colons": TAKEN_OPTIONS, "ipv6-correct-abnf-2-colons": TAKEN_OPTIONS,
}
# fmt: on


def read(file: str) -> list[Case]:
    parts = HEADING.split((FOLDER / file).read_text())[1:]
    return [Case(parts[i + 1], parts[i], decode(parts[i + 2]), OUTCOMES[parts[i + 1]]) for i in range(0, len(parts), 3)]


RFC_4475, RFC_5118 = read("rfc4475.txt"), read("rfc5118.txt")
CASES = RFC_4475 + RFC_5118
OCTETS = {case.name: case.octets for case in CASES}
