"""A call of ours that nobody has answered yet, as another front goes on with it: what the journal keeps of its INVITE."""

import msgspec

from sip_front.call import Call, Cause, State
from sip_front.dialog import Dialog
from sip_front.exchange import Sent
from sip_front.invitation import Invitation
from sip_front.message import parse_name_address
from sip_front.sdp import parse_sdp
from sip_front.session import Session
from sip_front.session_state import State as SessionState
from sip_front.transport import Address

RINGING = (State.CALLING, State.LISTENING)
HEARD = 180  # any 1xx: the far end has our INVITE, and it is not sent again


class SavedDialog(msgspec.Struct, frozen=True):
    """Texts of the far end are octets here: they need not be UTF-8."""

    local: bytes
    remote: bytes
    remote_target: bytes
    routes: list[bytes]
    local_cseq: int
    remote_cseq: int | None


class Unanswered(msgspec.Struct, frozen=True):
    """`early`: by tag, who rings. `rseqs`: by tag, the last reliable 1xx of theirs. `settled_tag`: whose 1xx has settled the media."""

    state: str
    destination: Address
    alternatives: list[Address]
    uris: list[tuple[Address, bytes]]
    patience_ns: int
    moves_on: tuple[int, ...]
    move_on_ns: int | None
    tries: int
    asked: list[bytes]
    early: dict[bytes, SavedDialog]
    rseqs: dict[bytes, int]
    early_answer: bytes
    settled_tag: bytes | None
    is_offer_delayed: bool
    is_open: bool
    """Our offer has no answer."""
    early_media: str
    ring_limit_ns: int
    give_up_ns: int | None
    """When it has rung for long enough."""


def as_octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def as_text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def save_dialog(dialog: Dialog) -> SavedDialog:
    return SavedDialog(
        as_octets(dialog.local.encode()), as_octets(dialog.remote.encode()), as_octets(dialog.remote_target),
        [as_octets(route) for route in dialog.routes], dialog.local_cseq, dialog.remote_cseq,
    )  # fmt: skip


def restore_dialog(saved: SavedDialog, sip_call_id: str) -> Dialog:
    local, remote = parse_name_address(as_text(saved.local)), parse_name_address(as_text(saved.remote))
    dialog = Dialog(
        sip_call_id, local, remote, remote_target=as_text(saved.remote_target), routes=[as_text(route) for route in saved.routes]
    )
    dialog.local_cseq, dialog.remote_cseq = saved.local_cseq, saved.remote_cseq
    return dialog


def save(call: Call) -> Unanswered | None:
    """None: it is not such a call, or of use only beside one that ends with this front: it has no agent of its own."""
    if call.state not in RINGING or not call.agent:
        return None
    session = call.session
    invitation = session.invitation
    if invitation is None or invitation.sent is None or session.state not in (SessionState.CALLING, SessionState.PROCEEDING):
        return None
    return Unanswered(
        state=session.state.name, destination=invitation.sent.destination._replace(flow=0),
        alternatives=session.alternatives, uris=[(address, as_octets(uri)) for address, uri in session.uris.items()],
        patience_ns=session.patience_ns, moves_on=session.moves_on, move_on_ns=invitation.move_on_ns,
        tries=invitation.tries, asked=[as_octets(uri) for uri in invitation.asked],
        early={as_octets(tag): save_dialog(dialog) for tag, dialog in invitation.early.items()},
        rseqs={as_octets(tag): rseq for tag, rseq in invitation.rseqs.items()}, early_answer=invitation.early_answer,
        settled_tag=None if invitation.settled_tag is None else as_octets(invitation.settled_tag),
        is_offer_delayed=session.is_offer_delayed, is_open=session.negotiation.is_open,
        early_media=call.early_media.name, ring_limit_ns=call.ring_limit_ns, give_up_ns=call.step_deadline_ns,
    )  # fmt: skip


def restore_session(saved: Unanswered, session: Session, offered: bytes, now_ns: int) -> None:
    """Its INVITE is known by now. One that nobody has heard is sent again."""
    session.state = SessionState[saved.state]
    session.alternatives, session.uris = saved.alternatives, {address: as_text(uri) for address, uri in saved.uris}
    session.patience_ns, session.moves_on, session.is_offer_delayed = saved.patience_ns, saved.moves_on, saved.is_offer_delayed
    negotiation = session.negotiation
    negotiation.offered = parse_sdp(offered) if offered else None
    negotiation.open_offer = negotiation.offered if saved.is_open else None
    invitation = session.invitation = Invitation(session)
    invitation.tries, invitation.asked = saved.tries, {as_text(uri) for uri in saved.asked}
    invitation.early = {as_text(tag): restore_dialog(dialog, session.sip_call_id) for tag, dialog in saved.early.items()}
    session.dialog = next(iter(invitation.early.values()), None)
    invitation.rseqs = {as_text(tag): rseq for tag, rseq in saved.rseqs.items()}
    invitation.early_answer, invitation.move_on_ns = saved.early_answer, saved.move_on_ns
    invitation.settled_tag = None if saved.settled_tag is None else as_text(saved.settled_tag)
    agent = session.agent
    sent = invitation.sent = Sent(agent, session.invite, saved.destination, session, invitation.receive, now_ns)
    if session.state is SessionState.PROCEEDING:
        sent.transaction.receive(HEARD, now_ns)
        sent.transaction.take_outbox()
        sent.transaction.told = False
    agent.sent[sent.key] = sent
    agent.flush(sent)


def restore_call(saved: Unanswered, call: Call) -> None:
    """It rings for as long as it would have."""
    call.early_media, call.ring_limit_ns, call.step_deadline_ns = Cause[saved.early_media], saved.ring_limit_ns, saved.give_up_ns
