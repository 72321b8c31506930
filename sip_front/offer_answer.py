"""Offer and answer: RFC 3264, for one audio stream. Pure functions from descriptions to descriptions.

What both sides agreed comes out as a `MediaDescription`, seen from our side, for the media worker. SRTP goes by SDES: its
profile is RTP/SAVP, or RTP/AVP with a=crypto lines that may be left alone (RFC 8643). rtcp-mux is offered, and answered
where it was; ICE is neither: leaving it out is how an answer says no.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from control_plane.errors import NotAcceptable
from control_plane.formats import COMFORT_NOISE, DEFAULT_PTIME_MS, FORMATS, PTIMES_MS, TELEPHONE_EVENT
from control_plane.messages import Direction, MediaDescription, SrtpKeys
from sip_front import sdes
from sip_front.sdes import Crypto
from sip_front.sdp import DIRECTIONS, Attribute, Encoding, MediaLine, SessionDescription
from sip_front.uri import quoted

PLAIN_RTP, SECURE_RTP = "RTP/AVP", "RTP/SAVP"
RTCP_MUX = "rtcp-mux"  # RFC 5761: reports on the port of the audio
EVENTS = "0-16"  # RFC 4733: the keys, and the hook flash
TELEPHONE_EVENT_PAYLOAD_TYPE = 101  # in our offers; dynamic, but what everybody writes
FIRST_DYNAMIC_PAYLOAD_TYPE = 96
LOWER_CASE = (TELEPHONE_EVENT, "OPUS")  # case means nothing (RFC 8866 6.6), but everybody writes these so

MIRRORED: Final[dict[Direction, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
"""What one side says is what the other must see (RFC 3264 6.1)."""


def answer(
    offer: SessionDescription,
    *,
    formats: tuple[str, ...],
    address: str,
    port: int,
    session_id: int,
    version: int,
    wish: Direction = "sendrecv",
    srtp: str = "off",
    secret_towards: Callable[[Crypto], bytes] = lambda theirs: sdes.new_secret(theirs.suite),
) -> tuple[SessionDescription, MediaDescription]:
    """The answer, and what the worker is told. `formats` are names of control_plane.formats in our order of preference;
    the first that the offer has is the only one answered, so that what comes in never changes its encoding on its own.
    `secret_towards` gives our own key and salt for what they send under theirs.
    `wish` is what we allow to flow: less than sendrecv while we hold them (RFC 6337 5.3).
    Raises NotAcceptable (488), whose text says what was offered and what we have.
    """
    chosen, crypto = _choose(offer, srtp)
    line = offer.media[chosen]
    payload_type, name = _pick(line, formats)
    clock = FORMATS[name].rtp_clock_hz
    theirs = offer.direction_of(line)
    remote_host = _remote_host(offer, line)
    if not remote_host:
        theirs = _combine(theirs, "sendonly")  # RFC 2543 held by c=0.0.0.0: they send, and do not want to hear
    media = MediaDescription(
        format=name,
        payload_type=payload_type,
        remote_host=remote_host,
        remote_port=line.port,
        ptime_ms=_ptime_ms(line, name),
        dtmf_payload_type=_find_keys(line, clock),
        comfort_noise_payload_type=_find(line, COMFORT_NOISE, clock),
        fmtp=_fmtp(line, payload_type),
        direction=_combine(MIRRORED[theirs], wish),
        srtp=SrtpKeys(crypto.suite, crypto.secret, secret_towards(crypto)) if crypto else None,
        has_rtcp_mux=line.attribute(RTCP_MUX) is not None,
        remote_rtcp_port=_rtcp_port(line),
        remote_ssrc=_ssrc(line),
    )
    ours = _our_line(line, media, port)
    if media.has_rtcp_mux:
        ours = _with_mux(ours)
    if crypto and media.srtp:
        ours = _with_keys(ours, line.protocol, (crypto._replace(secret=media.srtp.tx),))
    lines = tuple(ours if index == chosen else _refused(other) for index, other in enumerate(offer.media))
    return _describe(address, session_id, version, lines), media


def offer(
    *,
    formats: tuple[str, ...],
    address: str,
    port: int,
    session_id: int,
    version: int,
    direction: Direction = "sendrecv",
    protocol: str = PLAIN_RTP,
    secrets: Mapping[str, bytes] | None = None,
) -> SessionDescription:
    """One audio line with all our formats and keys. Comfort noise is not offered: who listens to everything needs no gaps.
    `secrets`: our own key and salt for each SRTP suite, the one that we prefer first.
    """
    numbers: dict[int, Encoding] = {}
    for name in formats:
        number = FORMATS[name].static_payload_type
        numbers[_free_number(numbers) if number is None else number] = _encoding(name)
    for clock in dict.fromkeys(FORMATS[name].rtp_clock_hz for name in formats):  # RFC 4733 7.1.1: keys on each clock of the audio
        number = _free_number(numbers) if TELEPHONE_EVENT_PAYLOAD_TYPE in numbers else TELEPHONE_EVENT_PAYLOAD_TYPE
        numbers[number] = Encoding(TELEPHONE_EVENT, clock)
    line = _with_mux(_audio_line(numbers, port, DEFAULT_PTIME_MS, direction))
    cryptos = (Crypto(tag, suite, secret) for tag, (suite, secret) in enumerate((secrets or {}).items(), 1))
    line = _with_keys(line, protocol, tuple(cryptos))
    return _describe(address, session_id, version, (line,))


def accept(answer: SessionDescription, offered: SessionDescription, srtp: str = "off") -> MediaDescription:
    """What the answer to our offer agreed. Payload types are the answer's: they are what the far end wants to get.

    Raises NotAcceptable where the far end refused, or answered what was not offered; the call then ends with BYE.
    """
    if len(answer.media) != len(offered.media):
        raise NotAcceptable(f"the answer has {len(answer.media)} media lines to an offer of {len(offered.media)} (RFC 3264 6)")
    chosen = next((i for i, line in enumerate(offered.media) if line.kind == "audio" and line.port), None)
    if chosen is None:
        raise NotAcceptable("the offer has no audio")
    line, ours = answer.media[chosen], offered.media[chosen]
    if line.kind.lower() != "audio" or line.protocol.upper() != ours.protocol:
        raise NotAcceptable(f"the answer speaks {quoted(line.kind)} over {quoted(line.protocol)}, not audio over {ours.protocol}")
    if not line.port:
        raise NotAcceptable("the far end refused the audio: port 0 in its answer")
    offered_names = tuple(name for name in FORMATS if _encoding(name) in ours.encodings.values())
    payload_type, name = _pick(line, offered_names, True)
    clock = FORMATS[name].rtp_clock_hz
    remote_host = _remote_host(answer, line)
    theirs = answer.direction_of(line)
    if not remote_host:
        theirs = _combine(theirs, "sendonly")
    return MediaDescription(
        format=name,
        payload_type=payload_type,
        remote_host=remote_host,
        remote_port=line.port,
        ptime_ms=_ptime_ms(line, name),
        dtmf_payload_type=_find_keys(line, clock),
        comfort_noise_payload_type=_find(line, COMFORT_NOISE, clock),
        fmtp=_fmtp(line, payload_type),
        direction=_combine(MIRRORED[theirs], offered.direction_of(ours)),
        srtp=_accept_keys(line, ours, srtp),
        has_rtcp_mux=line.attribute(RTCP_MUX) is not None and ours.attribute(RTCP_MUX) is not None,
        remote_rtcp_port=_rtcp_port(line),
        remote_ssrc=_ssrc(line),
    )


def directed(description: SessionDescription, direction: Direction) -> SessionDescription:
    """The same with another direction of its audio: hold and resume."""
    lines = tuple(_directed(line, direction) if line.port else line for line in description.media)
    return description._replace(media=lines)


def _directed(line: MediaLine, direction: Direction) -> MediaLine:
    attributes = tuple(item for item in line.attributes if item[0] not in DIRECTIONS)
    return line._replace(attributes=(*attributes, (direction, None)))


def padded(new: SessionDescription, previous: SessionDescription | None) -> SessionDescription:
    """A new offer of one audio line with all the lines that the session ever had, the others refused (RFC 3264 8)."""
    if previous is None or len(previous.media) == 1:
        return new
    place = next((i for i, line in enumerate(previous.media) if line.port), 0)
    return new._replace(media=tuple(new.media[0] if i == place else _refused(line) for i, line in enumerate(previous.media)))


def renumbered(new: SessionDescription, previous: SessionDescription | None) -> SessionDescription:
    """Our next description in the same session: the version goes up by one if anything changed, else it stays (RFC 3264 8)."""
    if previous is None:
        return new
    same = new._replace(session_id=previous.session_id, version=previous.version)
    return same if same == previous else same._replace(version=previous.version + 1)


def check_remote(address: str, *, allow_loopback: bool) -> None:
    """Whether media may go there at all. An empty or unspecified address is fine: nothing is sent. Raises NotAcceptable."""
    if not address:
        return
    try:
        where = ipaddress.ip_address(address)
    except ValueError as failure:
        raise NotAcceptable(f"{quoted(address)} is not an IP address; media go to addresses, names are not looked up") from failure
    if isinstance(where, ipaddress.IPv6Address) and where.ipv4_mapped:
        where = where.ipv4_mapped  # or ::ffff:127.0.0.1 would pass
    if where.is_unspecified or (where.is_loopback and allow_loopback):
        return
    if where.is_multicast or where == ipaddress.IPv4Address("255.255.255.255"):
        raise NotAcceptable(f"media to {address} would go to many machines; give the address of one")
    if where.is_loopback:
        raise NotAcceptable(f"media to {address} would stay on this machine; give an address that we can reach")
    if where.is_reserved or (where.version == 4 and where in ipaddress.IPv4Network("0.0.0.0/8")):
        raise NotAcceptable(f"{address} is reserved and reaches nobody")


def _choose(offer: SessionDescription, srtp: str) -> tuple[int, Crypto | None]:
    """The index of the audio line to answer, and its a=crypto line: the first that is protected, else the first that is not."""
    audio = [(i, line) for i, line in enumerate(offer.media) if line.kind.lower() == "audio" and line.port]
    read = {index: sdes.read(line.attributes) for index, line in audio}
    known = [(index, line) for index, line in audio if line.protocol.upper() in (PLAIN_RTP, SECURE_RTP)]
    if srtp != "off":
        for index, _ in known:
            if read[index].usable:
                return index, read[index].usable[0]
    for index, line in known:
        if line.protocol.upper() == PLAIN_RTP and srtp != "required":
            return index, None
    if not audio:
        kinds = ", ".join(quoted(line.kind) for line in offer.media if line.port) or "nothing"
        raise NotAcceptable(f"the offer has no audio: it offers {kinds}")
    protocols = ", ".join(line.protocol for _, line in audio)
    if known and srtp == "off":
        raise NotAcceptable(f'the offer insists on SRTP ({quoted(protocols)}), which media.srtp = "off" does not allow; offer {PLAIN_RTP}')
    if known:
        why = "; ".join(reason for index, _ in known for reason in read[index].why_not) or "there is no a=crypto line"
        raise NotAcceptable(f"the call must be protected by SRTP, and no key offered can be used: {why}")
    if "/TLS/" in protocols.upper():
        way = "let a gateway that speaks it, such as rtpengine or Janus, stand between"
        raise NotAcceptable(f"the offer is WebRTC ({quoted(protocols)}: DTLS and ICE), and we speak RTP, and SRTP by SDES; {way}")
    raise NotAcceptable(f"audio is offered over {quoted(protocols)} only; we have {PLAIN_RTP}, and {SECURE_RTP} with keys in the SDP")


def _free_number(numbers: dict[int, Encoding]) -> int:
    taken = {*numbers, TELEPHONE_EVENT_PAYLOAD_TYPE}
    return next(number for number in range(FIRST_DYNAMIC_PAYLOAD_TYPE, 128) if number not in taken)


def _our_fmtp(encoding: Encoding) -> str:
    return next((kind.fmtp for name, kind in FORMATS.items() if _encoding(name) == encoding), "")


def _encoding(name: str) -> Encoding:
    """How a=rtpmap names one of our formats."""
    kind = FORMATS[name]
    return Encoding(kind.encoding, kind.rtp_clock_hz, kind.channels)


def _pick(line: MediaLine, formats: tuple[str, ...], by_their_order: bool = False) -> tuple[int, str]:
    """The payload type and the name of our format: by our order in an answer of ours, by theirs where they answered us."""
    names = {_encoding(name): name for name in formats}
    usable = {number: names[encoding] for number, encoding in line.encodings.items() if encoding in names}
    if not usable:
        offered = ", ".join(f"{encoding.name}/{encoding.rtp_clock_hz}" for encoding in line.encodings.values())
        raise NotAcceptable(f"no audio format in common: offered {quoted(offered or 'none that is known')}; we have {', '.join(formats)}")
    if by_their_order:
        return next(iter(usable.items()))
    return min(usable.items(), key=lambda item: formats.index(item[1]))


def _find(line: MediaLine, name: str, rtp_clock_hz: int) -> int:
    """The payload type of keys or comfort noise on the clock of the audio; -1: not there."""
    return next((number for number, encoding in line.encodings.items() if encoding == Encoding(name, rtp_clock_hz)), -1)


def _find_keys(line: MediaLine, rtp_clock_hz: int) -> int:
    """On the clock of the audio (RFC 4733 2.1); phones that add telephone-event/8000 to audio of any clock mean it for that."""
    exact = _find(line, TELEPHONE_EVENT, rtp_clock_hz)
    return exact if exact >= 0 else _find(line, TELEPHONE_EVENT, 8_000)


def _remote_host(session: SessionDescription, line: MediaLine) -> str:
    """Empty where the address is 0.0.0.0 or ::, so that nothing is sent."""
    address = session.address_of(line) or ""
    return "" if not address or ipaddress.ip_address(address).is_unspecified else address


def _ptime_ms(line: MediaLine, name: str) -> int:
    """Of what we send: as the far end wishes where we can, the next shorter one where not, and never above its maximum."""
    ptimes_ms = FORMATS[name].ptimes_ms
    wished = line.ptime_ms if line.ptime_ms in PTIMES_MS else DEFAULT_PTIME_MS
    limit = line.maxptime_ms or wished
    return max((ptime for ptime in ptimes_ms if ptime <= min(wished, limit)), default=ptimes_ms[0])


def _fmtp(line: MediaLine, number: int) -> str:
    """What the far end says about this payload type; empty: nothing."""
    texts = ((value or "").strip(" ").partition(" ") for name, value in line.attributes if name == "fmtp")
    return next((text.strip(" ") for first, _, text in texts if first == str(number)), "")


def _combine(one: Direction, other: Direction) -> Direction:
    """What both allow."""
    sends = one in ("sendrecv", "sendonly") and other in ("sendrecv", "sendonly")
    receives = one in ("sendrecv", "recvonly") and other in ("sendrecv", "recvonly")
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _our_line(offered: MediaLine, media: MediaDescription, port: int) -> MediaLine:
    agreed = (media.payload_type, media.comfort_noise_payload_type, media.dtmf_payload_type)
    encodings = offered.encodings
    numbers = {number: encodings[number] for number in agreed if number >= 0}
    return _audio_line(numbers, port, media.ptime_ms, media.direction)


def _audio_line(numbers: dict[int, Encoding], port: int, ptime_ms: int, direction: Direction) -> MediaLine:
    attributes: list[Attribute] = []
    for number, encoding in numbers.items():
        is_event = encoding.name == TELEPHONE_EVENT
        name = encoding.name.lower() if encoding.name in LOWER_CASE else encoding.name
        channels = f"/{encoding.channels}" if encoding.channels > 1 else ""
        attributes.append(("rtpmap", f"{number} {name}/{encoding.rtp_clock_hz}{channels}"))
        fmtp = EVENTS if is_event else _our_fmtp(encoding)
        if fmtp:
            attributes.append(("fmtp", f"{number} {fmtp}"))
    attributes += [("ptime", str(ptime_ms)), (direction, None)]
    return MediaLine("audio", port, PLAIN_RTP, tuple(map(str, numbers)), None, tuple(attributes))


def _with_mux(line: MediaLine) -> MediaLine:
    return line._replace(attributes=(*line.attributes, (RTCP_MUX, None)))


def _rtcp_port(line: MediaLine) -> int:
    """Of a=rtcp (RFC 3605); 0: the one after RTP's. An address in it is left alone: reports go to where the audio goes."""
    port = (line.attribute("rtcp") or "").split(" ")[0]
    return int(port) if re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65_535 else 0


def _ssrc(line: MediaLine) -> int:
    """The far end's stream, of a=ssrc (RFC 5576); -1: it names none, or several."""
    named = {(value or "").partition(" ")[0] for name, value in line.attributes if name == "ssrc"}
    numbers = {int(text) for text in named if re.fullmatch("[0-9]{1,10}", text) and int(text) < 1 << 32}
    return numbers.pop() if len(named) == len(numbers) == 1 else -1


def _with_keys(line: MediaLine, protocol: str, cryptos: tuple[Crypto, ...]) -> MediaLine:
    return line._replace(protocol=protocol, attributes=(*(("crypto", crypto.value) for crypto in cryptos), *line.attributes))


def _accept_keys(line: MediaLine, ours: MediaLine, srtp: str) -> SrtpKeys | None:
    """Of the answer: the far end's key, and ours of the line that it chose."""
    theirs, offered = sdes.read(line.attributes), sdes.read(ours.attributes)
    for crypto in theirs.usable:
        match = offered.chosen_by(crypto)
        if match:
            return SrtpKeys(crypto.suite, crypto.secret, match.secret)
    if offered.usable and (srtp == "required" or ours.protocol == SECURE_RTP or theirs.usable or theirs.why_not):
        why = "; ".join(theirs.why_not) or "it chose none of the keys that we offered"
        raise NotAcceptable(f"the call must be protected by SRTP, and the answer is not: {why}")
    return None


def refuse(offer: SessionDescription, address: str, session_id: int) -> SessionDescription:
    """An answer that takes none of its lines."""
    return _describe(address, session_id, 1, tuple(_refused(line) for line in offer.media))


def _refused(line: MediaLine) -> MediaLine:
    """RFC 3264 6: each line of the offer has its line in the answer; port 0 refuses it."""
    return MediaLine(line.kind, 0, line.protocol, line.formats)


def _describe(address: str, session_id: int, version: int, lines: tuple[MediaLine, ...]) -> SessionDescription:
    return SessionDescription("-", session_id, version, address, address, lines, name="Bellframe")
