"""Offer and answer over the life of a session: what we said last, what is open, what is agreed (RFC 3264 4 and 8)."""

import secrets

from control_plane.errors import BellframeError, Misuse
from control_plane.formats import FORMATS
from control_plane.messages import Direction, MediaDescription, SrtpKeys
from control_plane.srtp_suites import SUITES
from sip_front import offer_answer, sdes
from sip_front.sdes import Crypto
from sip_front.sdp import SessionDescription, parse_sdp

DISCARD_PORT = 9  # RFC 863: stands in while our port is not known; never sent


class Negotiation:
    """`address`: where the far end may send media to. `port` is set once a worker has given one.

    `srtp` is one of POLICIES, and holds until a key is agreed: from then on the call stays protected, whatever the far end offers.
    """

    __slots__ = (
        "_read", "address", "agreed", "allow_loopback", "formats", "keys", "local", "next_wish", "offered", "open_offer", "port",
        "session_id", "settled", "srtp", "wish",
    )  # fmt: skip

    def __init__(self, formats: tuple[str, ...], address: str, *, allow_loopback: bool, srtp: str = "off") -> None:
        self.formats, self.address, self.allow_loopback, self.srtp = formats, address, allow_loopback, srtp
        self.keys = OwnKeys()
        self.port = 0
        self.wish: Direction = "sendrecv"
        """What we want to do, whatever the far end does: less than sendrecv while we hold it."""
        self.next_wish: Direction = "sendrecv"
        """As the open offer says."""
        self.session_id = secrets.randbits(31) | 1
        self.local: SessionDescription | None = None
        self.settled: SessionDescription | None = None
        """Ours before the offer that is open."""
        self.offered: SessionDescription | None = None
        self.open_offer: SessionDescription | None = None
        self.agreed: MediaDescription | None = None
        self._read: tuple[bytes, SessionDescription] | None = None
        """The offer read last: it is previewed for the worker, and answered once there is a port."""

    @property
    def is_holding(self) -> bool:
        """We put the far end on hold."""
        return self.wish == "sendonly"

    @property
    def hold_direction(self) -> Direction:
        """What we say to hold them: who is held as well lets nothing flow (RFC 3264 8.4)."""
        hears_us = self.agreed is None or self.agreed.direction in ("sendrecv", "sendonly")
        return "sendonly" if hears_us else "inactive"

    @property
    def is_open(self) -> bool:
        """We offered and have no answer: an offer that comes now is glare (RFC 3264 4)."""
        return self.open_offer is not None

    def without_offer(self) -> MediaDescription:
        """For a port before anything is agreed: our first format, and nobody to send to yet."""
        number = FORMATS[self.formats[0]].static_payload_type
        return MediaDescription(format=self.formats[0], payload_type=96 if number is None else number)

    def preview(self, offer: bytes) -> MediaDescription:
        """What we would agree to, before there is a port. Raises BellframeError with its sip_status."""
        return self._answer(offer, DISCARD_PORT)[1]

    def answer(self, offer: bytes) -> bytes:
        """Our answer; `agreed` is what it means. Raises BellframeError, and then nothing has changed."""
        if not self.port:
            raise Misuse("an answer needs the port that the worker opened")
        description, media = self._answer(offer, self.port)
        self.local, self._read = offer_answer.renumbered(description, self.local), None
        self._agree(media)
        return self.local.encode()

    def refusal(self, offer: bytes) -> bytes:
        """The answer that takes none of its lines; nothing changes by it. Empty: it cannot even be read."""
        try:
            return offer_answer.refuse(parse_sdp(offer), self.address, self.session_id).encode()
        except BellframeError:
            return b""

    def offer(self) -> bytes:
        """Our offer: everything that we can do. It is open until `accept`."""
        if not self.port:
            raise Misuse("an offer needs the port that the worker opened")
        description = offer_answer.offer(
            formats=self._ordered(),
            address=self.address,
            port=self.port,
            session_id=self.session_id,
            version=1,
            protocol=self._protocol(),
            secrets={} if self.srtp == "off" else self.keys.to_offer(),
            direction=self.wish,
        )
        return self._open(offer_answer.padded(description, self.local), self.wish)

    def repeat(self, direction: Direction | None) -> bytes:
        """What we said last as an offer, for hold, resume and refresh. `direction` None: as it is, and then the version stays."""
        if self.local is None:
            raise Misuse("nothing was said before that could be said again")
        if direction is None:
            return self._open(self.local, self.wish)
        return self._open(offer_answer.directed(self.local, direction), "sendrecv" if direction == "sendrecv" else "sendonly")

    def _open(self, description: SessionDescription, wish: Direction) -> bytes:
        self.settled, self.next_wish = self.local, wish
        self.local = self.offered = self.open_offer = offer_answer.renumbered(description, self.local)
        return self.local.encode()

    def reopen(self) -> None:
        """Our offer has an answer of one phone, and another one of the same fork answers the call."""
        self.open_offer = self.offered

    def preview_answer(self, answer: bytes) -> MediaDescription:
        """What an answer that does not count yet would mean (early media, unreliable). The offer stays open. Raises BellframeError."""
        if self.open_offer is None:
            raise Misuse("there is no offer to accept an answer to")
        return self._accept(answer, self.open_offer)

    def accept(self, answer: bytes) -> MediaDescription:
        """The far end's answer to our open offer. Raises BellframeError; the offer is closed all the same."""
        if self.open_offer is None:
            raise Misuse("there is no offer to accept an answer to")
        offered, self.open_offer = self.open_offer, None
        media = self._accept(answer, offered)
        self._agree(media)
        self.wish = self.next_wish
        return media

    def _accept(self, answer: bytes, offered: SessionDescription) -> MediaDescription:
        media = offer_answer.accept(parse_sdp(answer), offered, self.srtp)
        offer_answer.check_remote(media.remote_host, allow_loopback=self.allow_loopback)
        return media

    def withdraw(self) -> None:
        """The offer was refused: what was agreed before holds, and what was said before is what we say next."""
        if self.open_offer is not None and self.settled is not None:
            self.local = offer_answer.renumbered(self.settled, self.local)
        self.open_offer = None

    def _ordered(self) -> tuple[str, ...]:
        """What is in use first: a refresh should not change the codec."""
        if self.agreed is None:
            return self.formats
        used = self.agreed.format
        return (used, *(name for name in self.formats if name != used))

    def _agree(self, media: MediaDescription) -> None:
        self.agreed = media
        if media.srtp:
            self.srtp = "required"
            self.keys.agree(media.srtp)

    def _protocol(self) -> str:
        """Of our offers. In mid-call it is the one agreed: to change it would be another kind of stream."""
        used = next((line.protocol for line in self.local.media if line.port), "") if self.local and self.agreed else ""
        return used or (offer_answer.SECURE_RTP if self.srtp == "required" else offer_answer.PLAIN_RTP)

    def _answer(self, offer: bytes, port: int) -> tuple[SessionDescription, MediaDescription]:
        if self._read is None or self._read[0] != offer:
            self._read = offer, parse_sdp(offer)
        description, media = offer_answer.answer(
            self._read[1],
            formats=self._ordered(),
            address=self.address,
            port=port,
            session_id=self.session_id,
            version=1,
            srtp=self.srtp,
            secret_towards=self.keys.towards,
            wish=self.wish,
        )
        offer_answer.check_remote(media.remote_host, allow_loopback=self.allow_loopback)
        return description, media


class OwnKeys:
    """Our keys of one session. They stay as long as the far end's do: new ones for it alone would only cut speech."""

    __slots__ = ("agreed", "offered", "previewed")

    def __init__(self) -> None:
        self.agreed: SrtpKeys | None = None
        self.previewed: SrtpKeys | None = None
        """For keys that are offered, and not answered yet."""
        self.offered: dict[str, bytes] = {}

    def towards(self, theirs: Crypto) -> bytes:
        for keys in (self.agreed, self.previewed):
            if keys and (keys.suite, keys.rx) == (theirs.suite, theirs.secret):
                return keys.tx
        self.previewed = SrtpKeys(theirs.suite, theirs.secret, sdes.new_secret(theirs.suite))
        return self.previewed.tx

    def to_offer(self) -> dict[str, bytes]:
        """By suite, the one in use first."""
        self.offered = self.offered or {suite: sdes.new_secret(suite) for suite in SUITES}
        if self.agreed:
            return {self.agreed.suite: self.agreed.tx} | {s: k for s, k in self.offered.items() if s != self.agreed.suite}
        return self.offered

    def agree(self, keys: SrtpKeys) -> None:
        self.agreed, self.previewed = keys, None


def warning(failure: BellframeError, address: str) -> str:
    """A Warning header (20.43) that says why a description was refused: people read it in traces."""
    text = str(failure).replace("\\", "").replace('"', "'").replace("\r", " ").replace("\n", " ")[:200]
    code = 305 if failure.sip_status == 488 else 399  # 305: incompatible media format
    return f'{code} {address} "{text.encode("ascii", "replace").decode()}"'
