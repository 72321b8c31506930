"""Dialogs: RFC 3261 section 12. What both ends must remember between requests, and nothing else.

A dialog is found by Call-ID and both tags. It knows how to number a request, what to write into it, and where it
goes: to the first route, or to the far end's Contact.
"""

from control_plane.errors import PeerViolation
from sip_front.message import Headers, NameAddress, Request, Response, parse_name_address
from sip_front.uri import Uri, parse_uri

MAX_ROUTES = 32  # far more proxies than any call passes; each request repeats them all


class Dialog:
    __slots__ = ("call_id", "local", "local_cseq", "remote", "remote_cseq", "remote_target", "routes")

    def __init__(self, call_id: str, local: NameAddress, remote: NameAddress, *, remote_target: str, routes: list[str]) -> None:
        self.call_id, self.local, self.remote = call_id, local, remote
        self.remote_target = remote_target
        self.routes = routes[:MAX_ROUTES]
        self.local_cseq = 0
        self.remote_cseq: int | None = None

    @classmethod
    def from_request(cls, request: Request, local_tag: str) -> "Dialog":
        """The UAS's, made with the response to an INVITE (12.1.1). Raises BadMessage for addresses that cannot be read."""
        contact = request.contact
        dialog = cls(
            request.call_id,
            request.to.with_param("tag", local_tag),
            request.from_,
            remote_target=contact.uri if contact else request.from_.uri,
            routes=request.headers.get_all("Record-Route"),
        )
        dialog.remote_cseq = request.cseq[0]
        return dialog

    @classmethod
    def from_response(cls, request: Request, response: Response) -> "Dialog":
        """The UAC's, from a response with a To tag (12.1.2). Raises BadMessage."""
        contact = response.contact
        dialog = cls(
            request.call_id,
            request.from_,
            response.to,
            remote_target=contact.uri if contact else request.uri,
            routes=response.headers.get_all("Record-Route")[::-1],
        )
        dialog.local_cseq = response.cseq[0]
        return dialog

    @property
    def local_tag(self) -> str:
        return self.local.tag or ""

    @property
    def remote_tag(self) -> str:
        return self.remote.tag or ""  # 12.1.1: a peer of RFC 2543 has none

    def belongs(self, request: Request) -> bool:
        return (request.from_.tag or "", request.to.tag or "", request.call_id) == (self.remote_tag, self.local_tag, self.call_id)

    def accept_cseq(self, number: int) -> bool:
        """Note the number of a request that came. False: it is older than one that was served, answer 500 (12.2.2)."""
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, contact: NameAddress | None) -> None:
        """A re-INVITE and its 2xx may move the far end (12.2.1.2, 12.2.2)."""
        if contact and contact.uri != "*":
            self.remote_target = contact.uri

    def next_hop(self) -> Uri | None:
        """Where our requests go. None: the far end named a place that we cannot read."""
        try:
            return parse_uri(parse_name_address(self.routes[0]).uri if self.routes else self.remote_target)
        except PeerViolation:
            return None

    def make_request(self, method: str, *, via: str, contact: str, cseq: int | None = None) -> Request:
        """12.2.1.1. `cseq`: of the INVITE that an ACK belongs to; None: the next number."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self._route()
        headers = Headers()
        headers.lines += [("Via", via), *(("Route", route) for route in routes)]
        headers.lines += [
            ("Max-Forwards", "70"),
            ("From", self.local.encode()),
            ("To", self.remote.encode()),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", contact),
        ]
        return Request(method, uri, headers)

    def _route(self) -> tuple[str, list[str]]:
        if not self.routes:
            return self.remote_target, []
        first = parse_name_address(self.routes[0])
        try:
            is_loose = "lr" in parse_uri(first.uri).params
        except PeerViolation:
            is_loose = True
        if is_loose:
            return self.remote_target, self.routes
        # a strict router of RFC 2543 wants to find itself in the Request-URI, and the target last
        return first.uri, [*self.routes[1:], f"<{self.remote_target}>"]
