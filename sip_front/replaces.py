"""An INVITE that takes the place of another call of its sender's: RFC 3891. So ends an attended transfer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from sip_front.message import Request
from sip_front.session_state import State

if TYPE_CHECKING:
    from sip_front.session import Session


class Replaces(NamedTuple):
    call_id: str
    to_tag: str
    """Ours."""
    from_tag: str
    is_early_only: bool


class Found(NamedTuple):
    """The session that is replaced; or the status, and why not."""

    session: "Session | None"
    status: int = 0
    why: str = ""


def parse_replaces(value: str) -> Replaces | None:
    call_id, *parameters = (part.strip(" \t") for part in value.split(";"))
    named = dict(part.partition("=")[::2] for part in parameters)
    to_tag, from_tag = named.get("to-tag", ""), named.get("from-tag", "")
    return Replaces(call_id, to_tag, from_tag, "early-only" in named) if call_id and to_tag and from_tag else None


def find_replaced(request: Request, trunk: str, sessions: Mapping[tuple[str, str], "Session"]) -> Found:
    """Section 3. Of a call through another trunk nobody is told that it exists."""
    values = request.headers.get_all("Replaces")
    wanted = parse_replaces(values[0]) if len(values) == 1 else None
    if wanted is None:
        return Found(None, 400, "a Replaces that names no call, or two of them")
    session = sessions.get((wanted.call_id, wanted.to_tag))
    dialog = session.dialog if session else None
    if session is None or dialog is None or dialog.remote_tag != wanted.from_tag or session.trunk != trunk:
        return Found(None, 481, "a Replaces of a call that we do not have")
    if session.state in (State.ENDING, State.ENDED):
        return Found(None, 603, "a Replaces of a call that has just ended")
    if session.state is not State.UP:
        return Found(None, 481, "a Replaces of a call that is not up yet")
    if wanted.is_early_only:
        return Found(None, 486, "a Replaces of a call that only rings, and it is up")
    return Found(session)
