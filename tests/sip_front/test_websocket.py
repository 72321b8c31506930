"""SIP over WebSocket to the real process: a phone in a browser logs in, calls and is called, on the one connection that it has."""

import asyncio
import pathlib
import re
import ssl
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
import zmq

from control_plane.channel import Channel
from control_plane.messages import Calls, GetCalls, GetPhones, Originate, Phones
from sip_front.message import Message, Request, Response, make_response, parse
from tests.pki import Authority
from tests.sip_front.front_process import HOST, Front, Staff, free_port
from tests.sip_front.test_torture import with_password

pytestmark = pytest.mark.system
PAGE = "https://phone.example.com"
AFTER = '[[routes]]\nagent = "echo"\n[[users]]\nname = "anna"\npassword = "secret"\n'
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
WEBRTC = SDP.replace("RTP/AVP 0", "UDP/TLS/RTP/SAVPF 111 0\r\na=fingerprint:sha-256 00\r\na=ice-ufrag:x")
INSTANCE = '"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
LIMIT_S = 10.0


class Server:
    def __init__(self, folder: pathlib.Path, authority: Authority, **more: Any) -> None:
        self.ws, self.wss = free_port(), free_port()
        places = [f"ws:{HOST}:{self.ws}", f"wss:{HOST}:{self.wss}"]
        self.front = Front(folder, authority, after=AFTER, listen=[f"{HOST}:{free_port()}", *places], websocket_origins=[PAGE], **more)
        self.staff = Staff(folder)
        self.context = ssl.create_default_context(cafile=str(authority.certificate))
        self.front.wait_for("worker and bridge", lambda: "bridge 0 has reported" in self.front.log() and "worker 0" in self.front.log())

    def ask(self, message: Any) -> Any:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        channel = Channel(context, self.front.folder, "test")
        try:
            return channel.ask(message, 5_000)
        finally:
            channel.close()
            context.term()

    def stop(self) -> None:
        self.staff.stop()
        self.front.stop()


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("websocket")
    server = Server(folder / "front", Authority(folder))
    yield server
    server.stop()


class Browser:
    """As JsSIP and SIP.js send it: a host that is none in Via and Contact, and no Content-Length needed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.cseq = socket, 0

    def request(self, method: str, more: str = "", body: str = "", to: str = "<sip:anna@bellframe>", call_id: str = "b") -> str:
        self.cseq += 1
        return (
            f"{method} sip:bellframe SIP/2.0\r\nVia: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK{call_id}{self.cseq}\r\n"
            f"Max-Forwards: 69\r\nTo: {to}\r\nFrom: <sip:anna@bellframe>;tag=u\r\nCall-ID: {call_id}\r\nCSeq: {self.cseq} {method}\r\n"
            f"Contact: <sip:ma4k@df7jal23ls0d.invalid;transport=ws;ob>;+sip.instance={INSTANCE};reg-id=1\r\n"
            f"Supported: path,gruu,outbound\r\nUser-Agent: JsSIP 3.10\r\n{more}\r\n{body}"
        )

    async def send(self, text: str) -> None:
        await self.socket.send_str(text)

    async def receive(self) -> Message:
        text = await self.socket.receive_str(timeout=LIMIT_S)
        return parse(text.encode())

    async def final(self) -> Response:
        while not isinstance(message := await self.receive(), Response) or message.status < 200:
            pass
        return message

    async def register(self, expires: int = 600) -> Response:
        text = self.request("REGISTER", f"Expires: {expires}\r\n")
        await self.send(text)
        challenge = await self.final()
        assert challenge.status == 401
        await self.send(with_password(text.encode(), challenge).decode())
        return await self.final()


Work = Callable[[Browser], Coroutine[Any, Any, None]]


def browse(server: Server, work: Work, origin: str = PAGE, port: int = 0, protocols: tuple[str, ...] = ("sip",)) -> None:
    """`work` with one browser that has connected by wss, or by ws at another port."""

    async def run() -> None:
        url = f"ws://{HOST}:{port}/" if port else f"wss://{HOST}:{server.wss}/sip"
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            options: dict[str, Any] = {"origin": origin} if origin else {}
            async with session.ws_connect(url, protocols=protocols, ssl=server.context, **options) as socket:
                assert socket.protocol == "sip"
                await work(Browser(socket))

    asyncio.run(run())


def test_it_logs_in_and_is_called_on_its_own_connection(server: Server) -> None:
    async def work(browser: Browser) -> None:
        answer = await browser.register()
        assert answer.status == 200 and answer.headers.get("Require") == "outbound" and answer.headers.get("Flow-Timer") == "120"
        assert answer.top_via.host == "df7jal23ls0d.invalid" and answer.top_via.params["received"] == HOST
        phones = await asyncio.to_thread(server.ask, GetPhones())
        assert isinstance(phones, Phones) and [(p.user, p.transport) for p in phones.phones] == [("anna", "wss")]
        await asyncio.to_thread(server.ask, Originate("out", "user:anna", "echo"))
        invite = await browser.receive()
        assert isinstance(invite, Request) and invite.uri == "sip:ma4k@df7jal23ls0d.invalid;transport=ws;ob"
        assert invite.top_via.protocol == "WSS"
        assert invite.contact is not None and invite.contact.uri.endswith(f":{server.wss};transport=ws")
        await browser.send(make_response(invite, 488).encode().decode())
        ack = await browser.receive()
        assert isinstance(ack, Request) and ack.method == "ACK"

    browse(server, work)
    server.front.wait_for("it has gone with its connection", lambda: "has gone with its connection" in server.front.log())
    phones = server.ask(GetPhones())
    assert isinstance(phones, Phones) and phones.phones == ()


def test_it_calls_over_ws_and_the_call_ends_on_the_same_connection(server: Server) -> None:
    async def work(browser: Browser) -> None:
        kind = f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
        invite = browser.request("INVITE", kind, SDP, "<sip:100@bellframe>", "call")
        await browser.send(invite)
        answer = await browser.final()
        assert answer.status == 200 and b"m=audio" in answer.body
        to = answer.headers.get("To") or ""
        browser.cseq -= 1
        await browser.send(browser.request("ACK", to=to, call_id="call"))
        (call,) = (await asyncio.to_thread(server.ask, GetCalls())).calls
        assert call.state == "established" or call.state
        await browser.send(browser.request("BYE", to=to, call_id="call"))
        assert (await browser.final()).status == 200

    browse(server, work, port=server.ws)
    server.front.wait_for("the call has ended", lambda: isinstance(found := server.ask(GetCalls()), Calls) and not found.calls)


def test_webrtc_is_refused_in_words(server: Server) -> None:
    async def work(browser: Browser) -> None:
        await browser.send(browser.request("INVITE", "Content-Type: application/sdp\r\n", WEBRTC, "<sip:100@bellframe>", "webrtc"))
        answer = await browser.final()
        assert answer.status == 488 and "WebRTC" in (answer.headers.get("Warning") or "")

    browse(server, work)
    assert re.search(r"refused the call .* 488: the offer is WebRTC \('UDP/TLS/RTP/SAVPF': DTLS and ICE\)", server.front.log())


@pytest.mark.parametrize(
    ("origin", "protocols", "status", "line"),
    [
        ("https://evil.example", ("sip",), 403, 'pages of https://evil.example may not connect; if that is your phone, add "https://evil.example"'),
        ("null", ("sip",), 403, ""),
        (PAGE, ("chat",), 400, ""),
        (PAGE, (), 400, ""),
    ],
)
def test_who_may_not_open_one(server: Server, origin: str, protocols: tuple[str, ...], status: int, line: str) -> None:
    async def work(_browser: Browser) -> None:
        raise AssertionError("it was let in")

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        browse(server, work, origin, protocols=protocols)
    assert refused.value.status == status and line in server.front.log()


def test_what_is_no_browser_needs_no_origin_and_is_kept_alive(server: Server) -> None:
    async def work(browser: Browser) -> None:
        await browser.send("\r\n\r\n")
        assert await browser.socket.receive_str(timeout=LIMIT_S) == "\r\n"
        await browser.socket.ping()
        options = browser.request("OPTIONS", call_id="o")
        await browser.socket.send_bytes(options[:25].encode())  # half a message is none, and binary is as good as text
        await browser.send(browser.request("OPTIONS", call_id="p"))
        answer = await browser.final()
        assert (answer.status, answer.call_id) == (200, "p")

    browse(server, work, origin="")


def test_too_much_and_too_late_end_it(server: Server) -> None:
    async def work(browser: Browser) -> None:
        await browser.send("X" * 200_000)
        message = await browser.socket.receive(timeout=LIMIT_S)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

    browse(server, work)

    async def idle(browser: Browser) -> None:
        message = await browser.socket.receive(timeout=LIMIT_S)
        assert message.type is not aiohttp.WSMsgType.TEXT, "no SIP within connection_start_seconds"

    browse(server, idle)
    with server.front.connect(server.ws) as one:  # no HTTP at all
        one.settimeout(LIMIT_S)
        assert one.recv(100) == b""


def test_what_never_became_a_websocket_takes_no_place(tmp_path: pathlib.Path) -> None:
    server = Server(tmp_path / "front", Authority(tmp_path), max_connections_per_source=3, connection_start_seconds=30)
    try:
        for _ in range(5):
            server.front.connect(server.ws).close()
            with pytest.raises(aiohttp.WSServerHandshakeError):
                browse(server, Browser.register, "https://evil.example", server.ws)  # type: ignore[arg-type]

        async def work(browser: Browser) -> None:
            await browser.send("\r\n\r\n")
            assert await browser.socket.receive_str(timeout=LIMIT_S) == "\r\n"

        browse(server, work, port=server.ws)
    finally:
        server.stop()
