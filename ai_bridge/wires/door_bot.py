"""The agents that are bots at our door (door.py): `door:NAME` on our own wire, `door+twilio:NAME` on Twilio's."""

import functools
from typing import ClassVar

from ai_bridge.call import Answer, Call
from ai_bridge.wires import door as doors
from ai_bridge.wires.bellframe import Bellframe
from ai_bridge.wires.bellframe_bot import BellframeBot
from ai_bridge.wires.bot import Bot
from ai_bridge.wires.door import NAME, Door, Offer, Wanted
from ai_bridge.wires.socket import Connection, Socket, Unreachable
from ai_bridge.wires.twilio import Twilio
from control_plane.errors import ConfigurationError

RETURN_S = 2.0
"""How long a call whose bot's connection broke waits for that bot alone, before it goes to any of its name."""


class AtDoor(Bot):
    """Waits for a bot where others dial one."""

    wire_name: ClassVar[str]
    name: ClassVar[str]

    def on_start(self, call: Call) -> None:
        if doors.door is None:
            raise ConfigurationError(f'agent "{self.url}": there is no door where its bot could wait: set bridge.door')
        self._door: Door = doors.door
        self._door.calls[call.call_id] = (self.wire_name, self.name)
        self._was_alone = False
        super().on_start(call)

    @property
    def _may_return(self) -> bool:
        """A bot was there, and may come back."""
        return False

    def _may_retry(self) -> bool:
        return not self._was_alone and super()._may_retry()

    async def _dial(self) -> Connection:
        """The connection of a bot that waits, or comes in time."""
        given = self._options
        if not self._may_return:
            offer = await self._take(given.connect_seconds, is_return=False)
        else:
            alone_s = min(RETURN_S, given.resume_seconds)
            offer = await self._take(alone_s, is_return=True) or await self._take(given.resume_seconds - alone_s, is_return=False)
        if offer is None:
            self._was_alone = True
            raise Unreachable(f'no bot that takes this call waits at the door as "{self.name}"')
        assert isinstance(offer.connection, Socket)
        offer.connection.give_to(self)
        return offer.connection

    async def _take(self, seconds: float, is_return: bool) -> Offer | None:
        call = self.call
        try:
            return await self._door.take(Wanted(self.wire_name, self.name, call.call_id, call.caller, call.callee, is_return), seconds)
        except TimeoutError:
            return None

    def on_end(self, cause: str) -> Answer:
        self._door.ended(self.call.call_id)
        return super().on_end(cause)


class TwilioAtDoor(AtDoor):
    wire_name = "twilio"
    wire_class = Twilio


class BellframeAtDoor(AtDoor, BellframeBot):
    wire_name = "bellframe"
    wire_class = Bellframe

    @property
    def _may_return(self) -> bool:
        return self._resumed == "connection"


DOORS: dict[str, type[AtDoor]] = {"door": BellframeAtDoor, "door+twilio": TwilioAtDoor}


@functools.cache
def door_bot(reference: str) -> type[Bot]:
    """The agent class for "door:NAME". Raises ConfigurationError."""
    kind, _, name = reference.partition(":")
    if not NAME.fullmatch(name):
        raise ConfigurationError(f'agent "{reference}": the name has letters, digits, ., _ and - only, 64 at most')
    return type(DOORS[kind].__name__, (DOORS[kind],), {"name": name, "url": reference})
