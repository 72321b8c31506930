"""What the Internet sends to port 5060. Nothing of it may be noticed by a caller."""

import pathlib
import random
import secrets
import socket

from tests.system.caller import Caller
from tests.system.server import HOST, Server, wait_for
from tests.system.sound import pitch_and_level


def sample_invite() -> bytes:
    caller = Caller(sip_port=5060)
    caller.close()
    return caller.request("INVITE", caller.offer)


INVITE = sample_invite()
MAX_GROWTH_MB = 8.0
HUGE = b"A" * 65_000


def hostile(seed: int) -> list[bytes]:
    """A few hundred datagrams, none of which is a request that deserves an answer of 200."""
    rng = random.Random(seed)
    garbage = [rng.randbytes(rng.randrange(1, 1_400)) for _ in range(150)]
    cut = [INVITE[:length] for length in range(0, len(INVITE.partition(b"\r\n\r\n")[0]), 7)]
    flipped = []
    for _ in range(150):  # within the first line and the Via, which everything else hangs on
        octets = bytearray(INVITE.replace(b"RTP/AVP 0 ", b"RTP/AVP 5 "))  # no codec of ours, should all else be right by chance
        for _ in range(3):
            octets[rng.randrange(0, 60)] = rng.randrange(256)
        flipped.append(bytes(octets))
    head, _, body = INVITE.partition(b"\r\n\r\n")
    length = f"Content-Length: {len(body)}".encode()
    lies = [INVITE.replace(length, b"Content-Length: " + lie) for lie in (b"-1", b"99999999999999999999", b"9999", b"x", b"1e3", b"")]
    long = [
        HUGE,
        b"INVITE sip:" + HUGE[:60_000] + b" SIP/2.0\r\n\r\n",
        INVITE.replace(b"Max-Forwards: 70", b"X: " + HUGE[:60_000]),
        INVITE.replace(b"Max-Forwards: 70", b"\r\n".join([b"X-Many: 1"] * 5_000)),
        INVITE.replace(b"Max-Forwards: 70", b"Via: " + b",".join([b"SIP/2.0/UDP h;branch=z9hG4bKx"] * 1_000)),
        INVITE.replace(b"Max-Forwards: 70", b"Max-Forwards: 99999999999999999999"),
        INVITE.replace(b"CSeq: 1 ", b"CSeq: 99999999999999999999 "),
        head.replace(length, b"Content-Length: 60000") + b"\r\n\r\n" + b"v=0\r\n" + b"a=x\r\n" * 11_999,
        b"\r\n" * 30_000,
        b"\0" * 65_000,
    ]
    odd = [
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 99999 \r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\r\n",
        INVITE.replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1),
        INVITE.replace(b"INVITE sip:", b"INVITE javascript:", 1),
        INVITE.replace(b"m=audio", b"m=\xff\xfe\x00"),
        INVITE.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 224.0.0.1"),
        INVITE.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 ${jndi:ldap://x}"),
    ]
    found = [*garbage, *cut, *flipped, *lies, *long, *odd]
    rng.shuffle(found)
    return found


def resident_mb(pid: int) -> float:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def front_pid(server: Server) -> int:
    return next(pid for pid in server.pids() if b"sip_front" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())


def flood(server: Server, seed: int) -> None:
    """Every datagram, and then proof that the server has got through them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((HOST, 0))
        for number, octets in enumerate(hostile(seed)):
            one.sendto(octets, (HOST, server.sip_port))
            if number % 20 == 0:
                ping(one, server)
        ping(one, server)


def ping(one: socket.socket, server: Server) -> None:
    """OPTIONS, until it is answered."""
    mark = secrets.token_hex(8).encode()
    octets = INVITE.replace(b"INVITE", b"OPTIONS").partition(b"Content-Type")[0] + b"Content-Length: 0\r\n\r\n"
    octets = octets.replace(b"Call-ID: ", b"Call-ID: " + mark)
    one.settimeout(1.0)

    def is_answered() -> bool:
        one.sendto(octets, (HOST, server.sip_port))
        try:
            while mark not in (answer := one.recv(65_535)):
                pass
        except TimeoutError:
            return False
        return answer.startswith(b"SIP/2.0 200")

    wait_for("an answer to OPTIONS", is_answered, 10.0)


def test_garbage_changes_nothing(server: Server) -> None:
    pid, refused = front_pid(server), server.status().calls_total
    flood(server, seed=1)  # caches fill
    before_mb, lines = resident_mb(pid), len(server.log().splitlines())
    for seed in (2, 3, 4):
        flood(server, seed)
    growth_mb = resident_mb(pid) - before_mb
    print(f"the front grew by {growth_mb:.1f} MB over {3 * len(hostile(2))} hostile datagrams")
    assert growth_mb < MAX_GROWTH_MB
    assert front_pid(server) == pid, "the front is still the same process"
    assert len(server.log().splitlines()) - lines < 30, "a flood does not fill the log"
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(25)
    server.wait_until_quiet()
    assert server.status().calls_total >= refused + 1


def test_garbage_during_a_call_is_not_heard(server: Server) -> None:
    with Caller(server.sip_port) as caller:
        caller.wait_for_packets(10)
        flood(server, seed=5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:  # to the audio port, from another one
            for octets in hostile(6)[:200]:
                stranger.sendto(octets[:1_400], caller.media)
        caller.wait_for_packets(60)
        caller.check_stream()
        heard = caller.audio(len(caller.received) - 40)
    pitch_hz, level = pitch_and_level(heard)
    assert abs(pitch_hz - 440) < 15 and 7_000 < level < 9_000
