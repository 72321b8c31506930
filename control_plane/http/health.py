"""/healthz: may new calls be sent here?"""

import msgspec
from aiohttp import web

from control_plane.http.link import FrontAway
from control_plane.http.services import SERVICES
from control_plane.messages import GetStatus, Status

SILENT_LIMIT_MS = 3_000
"""Processes say that they are alive once a second."""
ANSWER_LIMIT_S = 1.0


class Health(msgspec.Struct, frozen=True):
    is_well: bool
    why: str
    calls: int = 0
    room: int = 0
    """How many more calls the workers can take."""


async def check(request: web.Request) -> web.Response:
    """200 while new calls are taken; 503 while draining, and while the front, all workers or all bridges are away."""
    try:
        answer = await request.app[SERVICES].link.ask(GetStatus(), ANSWER_LIMIT_S)
    except FrontAway as failure:
        health = Health(False, str(failure))
    else:
        health = judge(answer) if isinstance(answer, Status) else Health(False, "the front is of another release")
    return web.Response(status=200 if health.is_well else 503, body=msgspec.json.encode(health), content_type="application/json")


def judge(status: Status) -> Health:
    heard = [peer for peer in status.peers if peer.silent_ms <= SILENT_LIMIT_MS]
    room = sum(max(0, peer.capacity - peer.calls) for peer in heard if peer.role == "worker")
    if status.draining:
        return Health(False, "draining: no new calls", status.calls, 0)
    for role in ("worker", "bridge"):
        if not any(peer.role == role for peer in heard):
            return Health(False, f"no {role} is heard: new calls get 503", status.calls, 0)
    if room == 0:
        return Health(False, "every worker is full: new calls get 503", status.calls, 0)
    return Health(True, "new calls are taken", status.calls, room)
