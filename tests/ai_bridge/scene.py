"""A whole bridge process within a test: real rings, a real bell, a real switchboard on a socket of its own."""

import asyncio
import contextlib
import pathlib
import sys
import types
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import zmq

from ai_bridge.bridge import Bridge
from control_plane.channel import Channel, Switchboard
from control_plane.messages import Alive, Message, PressKeys, StartAgent, StopAgent
from shm import doorbell
from tests.ai_bridge.line import Line, make_rings

M = TypeVar("M", bound=Message)
DEADLINE_S = 10.0


class Scene:
    def __init__(self, folder: pathlib.Path, calls: int = 4) -> None:
        self.rings = make_rings(calls)
        self.bell_fd = doorbell.make()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.switchboard = Switchboard(self.context, folder)
        self.folder = folder
        self.told: list[Message] = []
        self.lines: dict[str, Line] = {}
        self.channels: list[Channel] = []

    def new_bridge(self) -> Bridge:
        self.channels.append(Channel(self.context, self.folder, "bridge-0"))
        return Bridge(self.rings, self.bell_fd, self.channels[-1], 0)

    async def succeed(self, first: Bridge) -> Bridge:
        """Another bridge in place of this one, once the front has heard of it: before that, orders would go to the one that is gone."""
        await first.stop()
        first.channel.close()
        before = len(self.of(Alive))
        second = self.new_bridge()
        second.start()
        await self.until(lambda: len(self.of(Alive)) > before)
        return second

    def ring(self) -> None:
        """As the worker does at the end of a cycle."""
        import os

        if doorbell.must_ring(self.rings.bells, 0):
            os.eventfd_write(self.bell_fd, 1)

    def hear_front(self) -> list[Message]:
        self.told += [message for _, message in self.switchboard.receive()]
        return self.told

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.hear_front() if isinstance(message, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the bridge work until this is so; fails after DEADLINE_S."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.001)

    async def call(self, agent: str, call_id: str = "a", row: int = 0, rate_hz: int = 8_000, **values: object) -> Line:
        """A call comes in for this agent; returns once the front was told that it has started, or failed."""
        line = self.lines[call_id] = Line(self.rings, row, generation=7 + row, rate_hz=rate_hz)
        before = len(self.hear_front())
        self.start(agent, call_id, **values)
        await self.until(lambda: any(getattr(m, "call_id", "") == call_id for m in self.hear_front()[before:]))
        return line

    def start(self, agent: str, call_id: str, **values: object) -> None:
        line = self.lines[call_id]
        start = StartAgent(call_id=call_id, row=line.row, generation=line.generation, sample_rate_hz=line.rate_hz, agent=agent, **values)  # type: ignore[arg-type]
        assert self.switchboard.send(b"bridge-0", start)

    def press(self, call_id: str, keys: str) -> None:
        assert self.switchboard.send(b"bridge-0", PressKeys(call_id=call_id, keys=keys))

    def stop(self, call_id: str, cause: str = "BYE") -> None:
        assert self.switchboard.send(b"bridge-0", StopAgent(call_id=call_id, cause=cause))


@contextlib.asynccontextmanager
async def stage(folder: pathlib.Path, calls: int = 4) -> AsyncIterator[tuple[Scene, Bridge]]:
    scene = Scene(folder, calls)
    bridge = scene.new_bridge()
    bridge.start()
    await scene.until(lambda: scene.of(Alive))
    try:
        yield scene, bridge
    finally:
        await bridge.stop()
        for channel in scene.channels:
            channel.close()
        scene.switchboard.close()
        scene.context.term()


def module_with(**classes: type) -> str:
    """The name of a module in which a loader finds these."""
    module = types.ModuleType("agents_of_a_test")
    vars(module).update(classes)
    sys.modules[module.__name__] = module
    return module.__name__
