"""Who calls: what From says, and what the network asserts where From hides it (RFC 3325)."""

from sip_front.header import BadMessage, parse_name_address
from sip_front.message import Request
from sip_front.uri import number_of

HIDDEN = frozenset(("anonymous", "private", "restricted", "unavailable", "unknown"))
"""What carriers write in From where a number would stand."""
ASSERTED = ("P-Asserted-Identity", "Remote-Party-ID")


def caller_of(request: Request) -> str:
    """The caller's number, for routes, agents and people. A caller who asks for privacy (RFC 3323) stays as hidden as From has it."""
    claimed = number_of(request.from_.uri)
    wishes = {wish.strip().lower() for wish in (request.headers.get("Privacy") or "").split(";")}
    if claimed.lower() not in HIDDEN or wishes & {"id", "user"}:
        return claimed
    for name in ASSERTED:
        try:
            return number_of(parse_name_address(request.headers.get(name) or "").uri)
        except BadMessage:
            continue
    return claimed
