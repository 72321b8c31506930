"""What is a part of a session, and needs it."""

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sip_front.session import Session


class Part:
    """It is reached through its session, and never outlives it.

    The session is held weakly: one that is over goes at once. In a circle it would wait for the garbage collector, which at 300 calls
    a second had thousands to take apart in one go, and stopped every set-up for a tenth of a second.
    """

    __slots__ = ("_session",)

    def __init__(self, session: "Session") -> None:
        self._session = weakref.ref(session)

    @property
    def session(self) -> "Session":
        session = self._session()
        assert session is not None
        return session
