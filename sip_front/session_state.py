"""The states of a session, and what it tells the call."""

import enum
from typing import TYPE_CHECKING, NamedTuple

from control_plane.messages import MediaDescription

if TYPE_CHECKING:
    from sip_front.session import Session


class State(enum.Enum):
    INCOMING = 0
    """They called, no final response yet."""
    ANSWERED = 1
    """They called, our 2xx waits for its ACK."""
    CALLING = 2
    """We called, nothing came back yet."""
    PROCEEDING = 3
    """We called, they ring."""
    UP = 4
    ENDING = 5
    """Our BYE or CANCEL is under way."""
    ENDED = 6


class Event(NamedTuple):
    """`media`: an agreement that is new. `status`: SIP's, where there is one."""

    kind: str
    """invited, replacing, ringing, early, answered, confirmed, renegotiated, held, resumed, progress, transferred, referred, key, noted,
    ended"""
    session: "Session"
    text: str = ""
    """For people; of a key, which one."""
    status: int = 0
    media: MediaDescription | None = None
