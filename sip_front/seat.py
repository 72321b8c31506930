"""Where a call is, among others."""

from typing import NamedTuple

from control_plane.messages import After, Party


class Seat(NamedTuple):
    room: str
    party: Party
    after: After
    """What becomes of the call when nobody else is left there."""
