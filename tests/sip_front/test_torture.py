"""Every message of RFC 4475 and RFC 5118, sent to the real process over UDP, TCP and TLS: it answers what the RFC asks for."""

import contextlib
import hashlib
import itertools
import re
import socket
import ssl
from collections.abc import Iterator

import pytest

from sip_front.message import Response, parse, parse_via
from tests.pki import Authority
from tests.sip_front import torture
from tests.sip_front.front_process import HOST, Front, Staff
from tests.sip_front.torture import Case

pytestmark = pytest.mark.system
USERS = "".join(f'[[users]]\nname = "{name}"\npassword = "secret"\n' for name in ("user", "j.user", "watson"))
NUMBER = itertools.count(1)
END = b"\r\n\r\n"
WITHOUT_PASSWORD = {"udp": ("escnull",), "tcp": ("escnull", "dblreq"), "tls": ("escnull", "dblreq")}
"""One of a user that we do not have; one after which noise follows in the stream. The first answer is what counts."""
PROBE = (
    "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK{name};rport\r\nFrom: <sip:p@b>;tag=1\r\n"
    "To: <sip:probe@b>\r\nCall-ID: {name}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
VIA = re.compile(rb"^(?:via|v)[ \t]*:[ \t]*([^,\r]+)", re.IGNORECASE | re.MULTILINE)
FOLD = re.compile(rb"\r\n[ \t]+")


@pytest.fixture(scope="module", params=["udp", "tcp", "tls"], name="transport")
def _transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", name="front")
def _front(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, ssl.SSLContext]]:
    """One for each transport: the same message twice would be a merged request."""
    folder = tmp_path_factory.mktemp("torture")
    authority = Authority(folder)
    front = Front(folder / "front", authority, after=f'[[routes]]\nagent = "echo"\n{USERS}')
    staff = Staff(front.folder)
    try:
        front.wait_for("worker and bridge", lambda: "bridge 0 has reported" in front.log() and "worker 0 has reported" in front.log())
        yield front, ssl.create_default_context(cafile=str(authority.certificate))
    finally:
        staff.stop()
        front.stop()


class Far:
    """A far end that has the address of the message's Via, as far as that decides where answers go. Gives answers one by one."""

    def __init__(self, front: Front, context: ssl.SSLContext, transport: str, case: Case) -> None:
        self.transport, self.pending = transport, b""
        if transport == "udp":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((f"127.{next(NUMBER) % 200 + 20}.{next(NUMBER) % 250}.7", port_of(case)))
            self.socket.connect((HOST, front.sip))
        else:
            self.socket = front.connect(front.tls if transport == "tls" else front.sip)
            if transport == "tls":
                self.socket = context.wrap_socket(self.socket, server_hostname=HOST)
        self.socket.settimeout(10)

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def receive(self) -> Response | None:
        """None: the connection was closed."""
        if self.transport == "udp":
            message = parse(self.socket.recv(65_535))
        else:
            while END not in self.pending or len(self.pending) < size_of(self.pending):
                more = b""
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    more = self.socket.recv(65_535)
                if not more:
                    return None
                self.pending += more
            whole, self.pending = self.pending[: size_of(self.pending)], self.pending[size_of(self.pending) :]
            message = parse(whole)
        assert isinstance(message, Response), message
        return message

    def final(self) -> Response | None:
        """The next final answer, or what stands for the end of the connection."""
        while (response := self.receive()) is not None and response.status < 200:
            pass
        return response


def size_of(octets: bytes) -> int:
    """Of the message that begins there, whose head is whole."""
    head, _, _ = octets.partition(END)
    return len(head) + 4 + int(head.rpartition(b"Content-Length: ")[2].partition(b"\r")[0])


def port_of(case: Case) -> int:
    """Where its answer goes: the port of the topmost Via, or the one that it comes from."""
    found = VIA.search(FOLD.sub(b" ", case.octets))
    assert found
    text = found[1].decode().replace("SIP/7.0", "SIP/2.0").partition(";;")[0]
    via = parse_via(text)
    return 0 if "rport" in via.params else via.port or 5060


def with_password(octets: bytes, challenge: Response) -> bytes:
    """The same again with the password that is asked for: RFC 2617 without qop is enough to see what comes next."""
    header = challenge.headers.get("WWW-Authenticate") or ""
    nonce, realm = (re.findall(rf'{name}="([^"]+)"', header)[0] for name in ("nonce", "realm"))
    line, _, rest = octets.partition(b"\r\n")
    uri = line.split(b" ")[1].decode()
    user = re.findall(rb"sip:([^@%>;]+)@", re.findall(rb"(?:^|\n)To:[^\r]*", octets)[0] + b" sip:user@")[0].decode()
    count = f"{next(NUMBER):08x}"
    ha1, ha2 = md5(f"{user}:{realm}:secret"), md5(f"REGISTER:{uri}")
    answer = md5(f"{ha1}:{nonce}:{count}:c:auth:{ha2}")
    value = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{answer}", qop=auth, nc={count}, cnonce=c'
    return line + b"\r\nAuthorization: " + value.encode() + b"\r\n" + rest


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def hang_up(far: Far, answered: Response) -> None:
    """ACK and BYE with what the answer names, so that nothing is sent again."""
    copied = "".join(f"{name}: {answered.headers.get(name)}\r\n" for name in ("From", "To", "Call-ID"))
    cseq = answered.cseq[0]
    for method, number in (("ACK", cseq), ("BYE", cseq + 1)):
        via = f"Via: SIP/2.0/UDP {HOST};rport;branch=z9hG4bK{method}{next(NUMBER)}\r\n"
        head = f"{method} sip:bellframe@{HOST} SIP/2.0\r\n{via}{copied}CSeq: {number} {method}\r\nMax-Forwards: 70\r\n"
        far.send(f"{head}Content-Length: 0\r\n\r\n".encode("utf-8", "surrogateescape"))
    while (response := far.receive()) is not None and response.cseq[1] != "BYE":
        pass
    assert response is not None and response.status == 200


def log_out(far: Far, answered: Response) -> None:
    """The RFCs use one Call-ID and CSeq for several REGISTERs: a registrar would take the next for a replay."""
    name = next(NUMBER)
    octets = (
        f"REGISTER sip:{HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST};rport;branch=z9hG4bKout{name}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: {answered.to._replace(params={}).encode()}\r\nCall-ID: out{name}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n"
        "Contact: *\r\nExpires: 0\r\nX: so long that the challenge is not much longer\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    far.send(octets)
    response = far.final()
    assert response is not None
    far.send(with_password(octets, response))
    response = far.final()
    assert response is not None and response.status == 200 and not response.headers.get_all("Contact")


def outcome(far: Far, case: Case) -> int:
    """The status of the last final answer to it; 0: there was none before the connection ended or a probe was answered."""
    far.send(case.octets)
    is_request, status = not case.octets.startswith(b"SIP/2.0 "), 0
    while is_request and (response := far.final()) is not None:
        status = response.status
        if status != 401 or case.name in WITHOUT_PASSWORD.get(far.transport, ()):
            break
        far.send(with_password(case.octets.partition(END)[0] + END, response))
    if is_request and status == 200:
        {"INVITE": hang_up, "REGISTER": log_out}.get(response.cseq[1], lambda far, response: None)(far, response)
    probe = f"probe{next(NUMBER)}"
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        far.send(PROBE.format(name=probe).encode())
        while (more := far.final()) is not None and more.call_id != probe:
            assert is_request and (more.status == status or far.transport != "udp"), more
    return status


@pytest.mark.parametrize("case", torture.CASES, ids=lambda case: case.name)
def test_the_outcome_is_what_the_rfc_asks_for(front: tuple[Front, ssl.SSLContext], case: Case, transport: str) -> None:
    far = Far(*front, transport, case)
    wanted = case.outcome.answer if transport == "udp" or case.outcome.on_stream is None else case.outcome.on_stream
    with far.socket:
        assert outcome(far, case) == wanted
    assert "Traceback" not in front[0].log() and "a bug" not in front[0].log()
