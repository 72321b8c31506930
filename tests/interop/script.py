"""A SIPp scenario as a chain of steps: what a carrier sends stands in one place, and reads like its call flow.

    Script("twilio", transport="TLS").invite(offer).expect(200, {"body": ["RTP/SAVP"]}).ack().pause(200).bye()

SIPp plays the peer: the steps send its messages, and say what must come back.
"""

import itertools
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

Wanted = Mapping[str, Sequence[str]]
"""POSIX patterns by where they are looked for: "body", "message", or the name of a header. Behind a ! it must not be there."""
EARLIER = {180: (100,), 183: (100,), 200: (100, 180, 183)}
"""Responses that may come before one and say nothing new."""
CALLER, CALLED = "<sip:{user}@[local_ip]>;tag=[pid]peer[call_number]", "<[$called];tag=[pid]peer[call_number]"


class Script:
    def __init__(
        self, name: str, *, transport: str = "[transport]", user: str = "+15551230001", has_rport: bool = True, headers: Sequence[str] = ()
    ) -> None:
        """`user`: in From, when the peer calls. `headers`: in all its requests. `has_rport`: old gateways do not know RFC 3581."""
        self.name, self.transport, self.headers, self.rport = name, transport, tuple(headers), ";rport" if has_rport else ""
        self.contact = "Contact: <sip:peer@[local_ip]:[local_port]" + (f";transport={transport.lower()}>" if transport == "TLS" else ">")
        self.peer, self.us = CALLER.format(user=user), "<sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]"
        self.steps: list[str] = []
        self.variables: list[str] = []
        self.numbers = itertools.count(1)
        self.invite_number = 0

    # ---- the peer calls ------------------------------------------------------------------------------------------

    def invite(self, body: str = "", *headers: str) -> "Script":
        return self._invite("sip:[service]@[remote_ip]:[remote_port]", body, headers)

    def ack_refusal(self) -> "Script":
        return self._send("ACK", "sip:[service]@[remote_ip]:[remote_port]", self.invite_number)

    # ---- the peer is called --------------------------------------------------------------------------------------

    def answer_call(self, wanted: Wanted | None = None) -> "Script":
        """Wait for the INVITE, and keep what a response to it must repeat."""
        self.peer, self.us = CALLED, "<[$them]"
        kept = {"via": ("Via:", "SIP.*"), "them": ("From:", "sip:.*"), "called": ("To:", "sip:[^>]*>"), "cseq": ("CSeq:", "[0-9]+ INVITE")}
        searches = "".join(self._search("hdr", *where, variable) for variable, where in kept.items())
        return self._receive('request="INVITE" rrs="true"', wanted or {}, searches)

    def answer(self, status: str, body: str = "", *headers: str) -> "Script":
        """To the INVITE, whatever came since."""
        lines = [f"SIP/2.0 {status}", "Via: [$via]", "From: <[$them]", f"To: {CALLED}", "Call-ID: [call_id]", "CSeq: [$cseq]"]
        repeated = ' retrans="500"' if status.startswith("200") else ""
        return self._message([*lines, self.contact, *headers], body, "application/sdp", repeated)

    def wait_for(self, method: str, wanted: Wanted | None = None) -> "Script":
        return self._receive(f'request="{method}"', wanted or {})

    def respond(self, status: str) -> "Script":
        """To the request that came last."""
        lines = [f"SIP/2.0 {status}", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]", self.contact]
        return self._message(lines, "", "", "")

    # ---- in the dialog, whoever began it -------------------------------------------------------------------------

    def expect(self, status: int, wanted: Wanted | None = None) -> "Script":
        self.steps += [f'  <recv response="{earlier}" optional="true"/>' for earlier in EARLIER.get(status, (100,))]
        return self._receive(f'response="{status}" rrs="true"', wanted or {})

    def ack(self, body: str = "") -> "Script":
        return self._send("ACK", "[next_url]", self.invite_number, body)

    def reinvite(self, body: str = "", *headers: str) -> "Script":
        return self._invite("[next_url]", body, headers)

    def request(self, method: str, body: str = "", *headers: str, content_type: str = "application/sdp") -> "Script":
        return self._send(method, "[next_url]", next(self.numbers), body, headers, content_type)

    def bye(self) -> "Script":
        return self.request("BYE").expect(200)

    def pause(self, milliseconds: int) -> "Script":
        self.steps.append(f'  <pause milliseconds="{milliseconds}"/>')
        return self

    def text(self, tls_port: int = 0) -> str:
        """`tls_port`: of the TLS round it, where it is reached in the dialog. 0: over the connection that is there."""
        reference = f'  <Reference variables="{",".join(self.variables)}"/>\n' if self.variables else ""
        head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
        steps = "\n".join(self.steps)
        if tls_port:
            steps = steps.replace("[local_port];transport=tls", f"{tls_port};transport=tls")
        return f"{head}<scenario name={quoteattr(self.name)}>\n{steps}\n{reference}</scenario>\n"

    def _invite(self, uri: str, body: str, headers: Sequence[str]) -> "Script":
        self.invite_number = next(self.numbers)
        return self._send("INVITE", uri, self.invite_number, body, headers)

    def _send(
        self, method: str, uri: str, number: int, body: str = "", headers: Sequence[str] = (), content_type: str = "application/sdp"
    ) -> "Script":
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} [local_ip]:[local_port];branch=[branch]{self.rport}",
            *(["[routes]"] if uri == "[next_url]" else []),
            "Max-Forwards: 70",
            f"From: {self.peer}",
            f"To: {self.us}",
            "Call-ID: [call_id]",
            f"CSeq: {number} {method}",
            self.contact,
            *self.headers,
            *headers,
        ]
        return self._message(lines, body, content_type, "" if method == "ACK" else ' retrans="500"')

    def _message(self, lines: Sequence[str], body: str, content_type: str, retransmitted: str) -> "Script":
        lines = [*lines, *([f"Content-Type: {content_type}"] if body else []), "Content-Length: [len]", "", *body.splitlines()]
        self.steps.append(f"  <send{retransmitted}><![CDATA[\n\n" + "\n".join(f"      {line}" for line in lines) + "\n\n  ]]></send>")
        return self

    def _receive(self, what: str, wanted: Wanted, searches: str = "") -> "Script":
        for place, patterns in wanted.items():
            where = {"body": ("body", ""), "message": ("msg", "")}.get(place, ("hdr", f"{place}:"))
            searches += "".join(self._search(*where, pattern) for pattern in patterns)
        action = f"    <action>\n{searches}    </action>\n" if searches else ""
        self.steps.append(f'  <recv {what} timeout="8000">\n{action}  </recv>')
        return self

    def _search(self, where: str, header: str, pattern: str, variable: str = "") -> str:
        self.variables.append(variable or f"seen{len(self.variables)}")
        check = "check_it_inverse" if pattern.startswith("!") else "check_it"
        place = f'search_in="{where}"' + (f' header="{header}"' if header else "")
        pattern = quoteattr(pattern.removeprefix("!"))
        return f'      <ereg regexp={pattern} {place} {check}="true" assign_to="{self.variables[-1]}"/>\n'


def sdp(
    *formats: str, protocol: str = "RTP/AVP", address: str = "[media_ip]", direction: str = "", version: int = 1, more: Sequence[str] = (),
    ptime_ms: int = 20,
) -> str:  # fmt: skip
    """One audio line. `formats` as in a=rtpmap: "0 PCMU/8000", "101 telephone-event/8000"."""
    numbers = " ".join(text.partition(" ")[0] for text in formats)
    lines = ["v=0", f"o=- 20518 {version} IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    lines += [f"m=audio [media_port] {protocol} {numbers}", *(f"a=rtpmap:{text}" for text in formats)]
    lines += [f"a=fmtp:{text.partition(' ')[0]} 0-16" for text in formats if "telephone-event" in text]
    lines += [f"a=ptime:{ptime_ms}"] * bool(ptime_ms) + [f"a={direction}"] * bool(direction)
    return "\n".join([*lines, *more])
