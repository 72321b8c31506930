"""aiosipua, a user agent that nobody here wrote: logs in, calls an agent, is called, transfers, and keeps its timers."""

import asyncio

import pytest
from aiosipua import IncomingCall, RegistrationState, SipDigestAuth, SipUAC, SipUAS, build_sdp
from aiosipua.registration import Registration
from aiosipua.transport import UdpSipTransport

from control_plane.client import ask
from control_plane.messages import Done, Originate
from tests.system.server import HOST, Server, free_ports

pytestmark = pytest.mark.system
PASSWORD = SipDigestAuth("anna", "secret")


class Phone:
    """`async with Phone(server) as phone`: logged in inside."""

    def __init__(self, server: Server) -> None:
        self.port, self.far = free_ports(4), (HOST, server.sip_port)
        self.transport = UdpSipTransport(local_addr=(HOST, self.port))
        self.uac = SipUAC(self.transport)
        self.uas = SipUAS(self.transport, uac=self.uac, session_expires=1800)
        self.offer = build_sdp(HOST, self.port + 2, 0, "PCMU")
        self.uas.on_invite = self.take
        self.uas.on_bye = lambda call, request: self.ended.set()
        self.calls: list[IncomingCall] = []
        self.rang, self.ended = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> "Phone":
        await self.uas.start()
        self.registration = Registration(self.uac, f"sip:anna@{HOST}:{self.far[1]}", self.far, auth=PASSWORD)
        done = asyncio.Event()
        self.registration.on_registered = self.registration.on_failed = lambda *_: done.set()
        self.registration.register()
        await asyncio.wait_for(done.wait(), 10)
        assert self.registration.state is RegistrationState.REGISTERED
        return self

    async def __aexit__(self, *_: object) -> None:
        self.registration.unregister()
        await asyncio.sleep(0.1)  # its own stop would not wait for the answer
        await self.uas.stop()

    def take(self, call: IncomingCall) -> None:
        self.calls.append(call)
        call.ringing(reliable=True)
        self.rang.set()


async def until_up(server: Server, count: int = 1) -> None:
    for _ in range(200):
        if [call.state for call in await asyncio.to_thread(server.calls)] == ["up"] * count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{count} calls up: not within 10 s\n{server.log()}")


def test_it_logs_in_and_calls_an_agent_with_a_password_and_timers(server: Server) -> None:
    async def go() -> None:
        async with Phone(server) as phone:
            uri = f"sip:echo@{HOST}:{server.sip_port}"
            call = phone.uac.send_invite(f"sip:anna@{HOST}", uri, phone.far, phone.offer, auth=PASSWORD, session_expires=1800)
            await call.wait_answered(10)
            assert call.sdp_answer is not None and call.sdp_answer.audio.codecs[0].encoding_name == "PCMU"
            await until_up(server)
            phone.uac.send_reinvite(call.dialog, sdp=phone.offer, remote_addr=phone.far)
            phone.uac.send_info(call.dialog, "Signal=5\r\nDuration=160\r\n", content_type="application/dtmf-relay", remote_addr=phone.far)
            await asyncio.sleep(0.3)
            call.hangup(phone.uac)

    asyncio.run(go())
    server.wait_until_quiet()
    server.check_log()


def test_it_is_called_rings_reliably_and_is_hung_up_on(server: Server) -> None:
    async def go() -> None:
        async with Phone(server) as phone:
            assert await asyncio.to_thread(ask, server.runtime, Originate("to-anna", "anna", "echo")) == Done("to-anna")
            await asyncio.wait_for(phone.rang.wait(), 10)
            (call,) = phone.calls
            while call._reliable_task is not None:  # until our PRACK is there, it may not answer (RFC 3262 3)
                await asyncio.sleep(0.02)
            call.accept(phone.offer)
            await until_up(server)
            assert call.session_interval == 1800, "our session timer is its own"
            done = await asyncio.to_thread(server.command, "hangup", "to-anna")
            assert done.returncode == 0
            await asyncio.wait_for(phone.ended.wait(), 10)

    asyncio.run(go())
    server.wait_until_quiet()
    server.check_log()
