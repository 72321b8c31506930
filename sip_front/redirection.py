"""Where a far end may send a call of ours: 3xx to our INVITE, REFER within a call. Policy, because each is a way to make us dial.

A target at the far end's own host is its own business. Any other must fit a pattern of `sip.follow`; and through a
trunk, its number must be one that the trunk may call.
"""

import fnmatch
import re
from typing import TYPE_CHECKING

from sip_front.header import BadMessage, parse_name_address
from sip_front.message import Response
from sip_front.transport import Address, address_of
from sip_front.uri import BadUri, Uri, parse_uri, quoted

if TYPE_CHECKING:
    from sip_front.session import Session
    from sip_front.trunks import Trunks

MAX_CONTACTS = 8  # of a 3xx that are looked at
DROPPED = ("method", "maddr", "ttl")
"""Parameters that would make our request another one (RFC 3261 19.1.5), or go elsewhere than where policy looked."""


class Redirection:
    def __init__(self, follow: tuple[str, ...], trunks: "Trunks") -> None:
        self.patterns = [re.compile(fnmatch.translate(pattern), re.IGNORECASE) for pattern in follow]
        self.trunks = trunks

    def way(self, session: "Session", uri: Uri) -> Address | str:
        """Where a request for this URI goes, or why it may not, with the remedy."""
        shown = quoted(uri._replace(headers={}).encode())[1:-1]
        if uri.scheme not in ("sip", "sips"):
            return f"{shown} is not a sip: URI"
        if session.is_secure and uri.scheme != "sips":
            return f"{shown} would take a call of sips: URIs out of TLS"
        trunk = self.trunks.get(session.trunk) if session.trunk else None
        if trunk and not trunk.may_call(uri.number):
            return f"trunk {trunk.name} may not call {quoted(uri.number)[1:-1]}; add a pattern to its allow_numbers if it is meant"
        if trunk and trunk.config.max_spend_per_day:
            return f"trunk {trunk.name} has a max_spend_per_day, and another number may have another price"
        inside = {session.peer.host, session.peer.name, _host_of(session.invite.uri)}
        if uri.host.strip("[]").lower() in inside:
            return session.peer if address_of(uri) is None or uri.port is None else address_of(uri) or session.peer
        if not any(pattern.fullmatch(f"{uri.user}@{uri.host}" if uri.user else uri.host) for pattern in self.patterns):
            return f"{shown} is outside of the far end's own host; add a pattern to sip.follow if it is meant"
        address = address_of(uri)
        return address or f"{shown} is a name; targets outside of the far end's own host must be addresses"


def contacts(response: Response) -> list[Uri]:
    """The targets of a 3xx, the best first (RFC 3261 8.1.3.4, 20.10)."""
    found: list[tuple[float, Uri]] = []
    for value in response.headers.get_all("Contact")[:MAX_CONTACTS]:
        try:
            address = parse_name_address(value)
            uri = parse_uri(address.uri)
            found.append((float(address.params.get("q") or 1.0), plain(uri)))
        except (BadMessage, BadUri, ValueError):
            continue
    return [uri for _, uri in sorted(found, key=lambda item: -item[0])]


def plain(uri: Uri) -> Uri:
    """Without what would change the request beyond its target."""
    return uri._replace(headers={}, params={name: value for name, value in uri.params.items() if name not in DROPPED})


def _host_of(uri: str) -> str:
    try:
        return parse_uri(uri).host.strip("[]").lower()
    except BadUri:
        return ""
