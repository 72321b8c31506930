"""What does it cost to read an INVITE, as far as its call can be routed?

A carrier's INVITE of 1.3 kB, another Call-ID, caller and tag each time, so that nothing is known from the one before. Parsed and
validated, then what routing asks for: who calls, whom, over which trunk, from where, and which transaction and dialog it is.
"""

import time
from typing import Any

import numpy as np

from sip_front.message import Request, parse, validate
from sip_front.transaction import server_key
from sip_front.uri import parse_uri

MESSAGES, ROUNDS = 2_000, 15
BODY = (
    "v=0\r\no=root 1821 1821 IN IP4 54.172.60.1\r\ns=Twilio Media Gateway\r\nc=IN IP4 168.86.128.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n"
)
INVITE = (
    "INVITE sip:+4930{n:07}@sip.example.com:5060 SIP/2.0\r\n"
    "Record-Route: <sip:54.172.60.0:5060;lr;ftag={n:08x}_6772d868>\r\n"
    "Via: SIP/2.0/UDP 54.172.60.0:5060;branch=z9hG4bK{n:08x}.7a83.0\r\n"
    "Via: SIP/2.0/UDP 172.25.112.178:5060;rport=5060;branch=z9hG4bK{n:08x}-bf5b-4d81\r\n"
    'From: "Anna Caller" <sip:+4917{n:07}@pstn.example.com>;tag={n:08x}_6772d868_f3b9cb18\r\n'
    "To: <sip:+4930{n:07}@sip.example.com>\r\n"
    "Call-ID: {n:032x}@0.0.0.0\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:+4917{n:07}@172.25.112.178:5060;transport=udp>\r\n"
    "User-Agent: Carrier Gateway\r\n"
    "Max-Forwards: 69\r\n"
    "Allow: INVITE,ACK,CANCEL,OPTIONS,BYE\r\n"
    "Supported: timer\r\n"
    "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n"
    "Diversion: <sip:+4930555{n:04}@sip.example.com>;reason=unconditional\r\n"
    "P-Asserted-Identity: <sip:+4917{n:07}@206.147.71.1:5060>\r\n"
    "X-Account-Sid: AC{n:032x}\r\nX-Call-Sid: CA{n:032x}\r\n"
    "Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
)


def invite(n: int) -> bytes:
    body = BODY.format(port=10_000 + n % 10_000 * 2)
    return INVITE.format(n=n, length=len(body), body=body).encode()


def read(octets: bytes) -> tuple[object, ...]:
    """What the front asks of an INVITE before it knows where it goes."""
    message = parse(octets)
    assert isinstance(message, Request)
    validate(message)
    callee, caller = parse_uri(message.uri).number, parse_uri(message.from_.uri).number
    contact = message.contact
    return server_key(message), callee, caller, message.call_id, message.to.tag, message.from_.tag, contact and contact.uri


def answer() -> dict[str, Any]:
    messages = [invite(n) for n in range(MESSAGES)]
    steps = {"parse": parse, "parse and route": read}
    found: dict[str, Any] = {"octets": len(messages[0])}
    for name, step in steps.items():
        rounds = []
        for _ in range(ROUNDS):
            begun = time.process_time_ns()
            for octets in messages:
                step(octets)
            rounds.append((time.process_time_ns() - begun) / MESSAGES / 1000)
        found[f"{name}, µs"] = {"best": float(min(rounds)), "median": float(np.median(rounds))}
    return found


def test_sip_parse(benchmark: Any) -> None:
    octets = invite(7)
    assert benchmark(read, octets)[1] == "+49300000007"


if __name__ == "__main__":
    print(answer())
