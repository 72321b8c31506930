"""The API in this process, with somebody at the front's real socket who answers as told."""

import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import zmq
from aiohttp.test_utils import TestClient, TestServer

from control_plane.config import Config
from control_plane.http.api import make_app
from control_plane.http.link import Link
from control_plane.http.process import make_services
from control_plane.http.services import Services
from control_plane.http_config import Http, Records
from control_plane.messages import (
    CallFacts,
    Calls,
    ConnectCall,
    Done,
    EnterRoom,
    Failed,
    GetCall,
    GetCalls,
    GetStatus,
    GetTrace,
    HangUp,
    HoldCall,
    JoinCalls,
    LeaveRoom,
    Message,
    Originate,
    PeerFacts,
    PressKeys,
    SipTraced,
    Status,
    Traced,
    Transfer,
    Watch,
)
from control_plane.tenant_config import Tenant

CALL = CallFacts("c-1", "up", "inbound", "+491", "100", "echo", 1.7e9, 65.2, format="PCMU", outcome="answered", status=200)
PEERS = (PeerFacts("worker", 0, 4711, 2, 1, 1000, 300), PeerFacts("bridge", 0, 4712, 0, 1, 0, 100))
STATUS = Status("0.1.0", "127.0.0.1:5060", 3700.0, False, 1, 17, 2, PEERS)
Client = TestClient[Any, Any]


class Front:
    """A front that knows one call, and those that were ordered."""

    def __init__(self) -> None:
        self.calls: dict[str, CallFacts] = {"c-1": CALL}
        self.orders: list[Originate] = []
        self.others: list[Message] = []
        self.status = STATUS
        self.refusal: Failed | None = None

    def __call__(self, message: Message) -> list[Message]:
        match message:
            case GetStatus():
                return [self.status]
            case GetCalls():
                return [Calls(tuple(self.calls.values()))]
            case GetCall(call_id=call_id) if call_id in self.calls:
                return [Calls((self.calls[call_id],))]
            case Originate(call_id=call_id, to=to, agent=agent):
                if self.refusal:
                    return [self.refusal]
                if call_id not in self.calls:
                    self.orders.append(message)
                    self.calls[call_id] = CallFacts(call_id, "calling", "outbound", "", to, agent, 1.7e9, 0.0, tenant=message.tenant)
                return [Done(call_id)]
            case HangUp(call_id=call_id) | Transfer(call_id=call_id) | HoldCall(call_id=call_id) | PressKeys(call_id=call_id):
                self.others.append(message)
                return [Done() if call_id in self.calls else Failed("there is no such call", 404)]
            case JoinCalls() | EnterRoom() | LeaveRoom():
                self.others.append(message)
                return [self.refusal or Done()]
            case ConnectCall(leg_id=leg_id, to=to):
                self.others.append(message)
                self.calls[leg_id] = CallFacts(leg_id, "calling", "outbound", "", to, "", 1.7e9, 0.0)
                return [Done(leg_id)]
            case GetTrace(call_id="c-1"):
                return [Traced("c-1", (SipTraced("c-1", 1, False, "INVITE", "192.0.2.1:5060", text="INVITE ..."),))]
            case Watch():
                return [Done()]
        return [Failed("there is no such call", 404)]


@asynccontextmanager
async def running(
    directory: pathlib.Path, http: Http = Http(), records: Records = Records(), tenants: tuple[Tenant, ...] = ()  # noqa: B008
) -> AsyncIterator[tuple[Client, Services]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = Link(context, directory)
    services = make_services(Config(http=http, records=records, tenants=tenants, runtime_directory=str(directory)), link)
    try:
        async with TestClient(TestServer(make_app(services))) as client:
            yield client, services
    finally:
        await services.webhooks.close()
        link.close()
        context.term()
