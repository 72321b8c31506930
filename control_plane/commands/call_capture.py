"""What one call's packets and SIP messages become: a capture file, in the order of their time."""

import pathlib
import socket
import time
from typing import TYPE_CHECKING

from control_plane import pcap
from control_plane.commands.trace import as_packet
from control_plane.messages import CallChanged, Capturing, Message, SipTraced, SrtpKeys, Traced

if TYPE_CHECKING:
    from shm.capture import CapturedPacket, CaptureReader
    from shm.layout import Rings

AGAIN_S, LOOK_S, SETTLED_S = 2.0, 0.1, 0.3
"""How often it is asked for again, how often the ring is looked into, and how old a packet is when everything before it is known."""
UNSPECIFIED = ("0.0.0.0", "::")


class CallCapture:
    """Hand it what the front says to CaptureCall, GetTrace and Watch, and `take` every LOOK_S."""

    def __init__(self, directory: pathlib.Path, is_encrypted: bool) -> None:
        """Raises OSError while no keeper listens, ValueError if it is of another release."""
        from shm import handover

        self.rings: Rings
        self.rings, _ = handover.ask_as_recorder(directory)
        self.is_encrypted = is_encrypted
        self.reader: CaptureReader | None = None
        self.local_host = ""
        self.hosts: dict[str, str] = {}
        self.waiting: list[tuple[float, bytes]] = []
        self.packets = self.messages = self.missed = 0
        self.last_ns = 0
        self.keys: list[SrtpKeys] = []
        """Each pair that was in use, the first one first."""
        self.unix_less_ns = time.time_ns() - time.monotonic_ns()

    def receive(self, message: Message) -> bool:
        """What the front says. True: the call has ended."""
        match message:
            case Capturing():
                self._follow(message)
            case Traced():
                for before in message.messages:
                    self.receive(before)
            case SipTraced(at_ns=at_ns, at=at_s) if at_ns >= self.last_ns and message.text:  # else it came while we asked what was before
                self.last_ns = at_ns
                self.messages += 1
                self.waiting.append((at_s, as_packet(message, self.is_encrypted)))
        return isinstance(message, CallChanged) and message.call.state == "ended"

    def _follow(self, answer: Capturing) -> None:
        """Where the call's packets are now, and under which keys."""
        from shm.capture import CaptureReader

        self.local_host = answer.local_host
        if self.reader is None or (self.reader.row, self.reader.generation) != (answer.row, answer.generation):
            self.reader = CaptureReader(self.rings, answer.row, answer.generation, self.is_encrypted)
        if answer.srtp is not None and answer.srtp not in self.keys:
            self.keys.append(answer.srtp)

    def take(self, until_s: float) -> bytes:
        """What came before this time (seconds since the epoch), for the file."""
        if self.reader is not None:
            for packet in self.reader.take():
                at_s = (packet.at_ns + self.unix_less_ns) / 1e9
                self.packets += 1
                self.waiting.append((at_s, self._as_packet(at_s, packet)))
            self.missed = self.reader.missed
        self.waiting.sort(key=lambda part: part[0])
        count = sum(at_s < until_s for at_s, _ in self.waiting)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return b"".join(octets for _, octets in taken)

    def is_over(self) -> bool:
        return self.reader is not None and self.reader.is_over()

    def _as_packet(self, at_s: float, packet: "CapturedPacket") -> bytes:
        here = pcap.endpoint(self._local_host_towards(packet.remote_host), packet.local_port)
        there = pcap.endpoint(packet.remote_host, packet.remote_port)
        source, destination = (here, there) if packet.is_sent else (there, here)
        return pcap.packet(at_s, source, destination, packet.octets)

    def _local_host_towards(self, remote_host: str) -> str:
        """Where the ports are bound; if that is everywhere, the address that this machine has towards the far end."""
        if self.local_host not in UNSPECIFIED:
            return self.local_host
        if remote_host not in self.hosts:
            self.hosts[remote_host] = address_towards(remote_host) or self.local_host
        return self.hosts[remote_host]


def address_towards(remote_host: str) -> str:
    """Empty: there is no way to it."""
    with socket.socket(socket.AF_INET6 if ":" in remote_host else socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((remote_host, 9))  # sends nothing
            return str(asked.getsockname()[0])
        except OSError:
            return ""


def keys_text(call_id: str, keys: list[SrtpKeys]) -> str:
    """As a=crypto has them (RFC 4568), for libsrtp's rtp_decoder and others; `received`: what the far end protects with."""
    import base64

    lines = [f"# SRTP keys of call {call_id}: whoever has them can listen to the capture\n"]
    for pair in keys:
        for direction, secret in (("received", pair.rx), ("sent", pair.tx)):
            lines.append(f"{direction} {pair.suite} inline:{base64.b64encode(secret).decode()}\n")
    return "".join(lines)
