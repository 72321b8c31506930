"""baresip, which nobody here wrote: a telephone without a head. It plays one WAV and records what it hears and says."""

import contextlib
import json
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.conftest import require_peer
from tests.pki import Authority
from tests.system.server import HOST, free_ports, free_tcp_port, wait_for
from tests.system.sound import write_tone

PITCH_HZ = 440
Inside = Callable[[], contextlib.AbstractContextManager[None]]
MODULE_FOLDERS = ("/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules")
CONFIG = """\
poll_method poll
sip_listen {bracketed}:{sip_port}
prefer_ipv6 {is_ipv6}
call_local_timeout 30
call_max_calls 2
audio_player aubridge,sink
audio_source aufile,{said}
audio_alert aubridge,alert
audio_level no
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp_port}-{rtp_end}
rtp_timeout 0
net_interface {host}
module_path {modules}
module g711.so
module g722.so
module l16.so
module opus.so
module srtp.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
snd_path {recordings}
"""


class Baresip:
    """`with Baresip(folder) as phone`: running inside. It says `PITCH_HZ`, and answers calls if told so."""

    def __init__(
        self, folder: pathlib.Path, user: str = "probe", answers: bool = False, srtp: str = "", account: str = "",
        transport: str = "udp", authority: Authority | None = None, codecs: str = "pcmu,pcma",
        registrar: str = "", host: str = HOST, prefix: tuple[str, ...] = (), inside: Inside = contextlib.nullcontext,
    ) -> None:  # fmt: skip
        """`srtp`: "srtp" is RTP/AVP with keys that may be left alone, "srtp-mand" is RTP/SAVP. `account`: more of its parameters,
        such as ;auth_user=desk;auth_pass=secret. `authority`: for TLS, which is at the port after `sip_port`.
        `codecs`: as baresip names them, such as opus/48000/2. `registrar`: HOST:PORT of its server; `account` says `regint` then.
        `host`: where it is. `prefix`: a command that becomes baresip, and `inside`: where its own loopback is reached from."""
        self.program, self.folder, self.user = (*prefix, require_peer("baresip")), folder, user
        self.inside = inside
        first = free_ports(22)
        self.sip_port, self.control_port, self.recordings = first, free_tcp_port(), folder / "recordings"
        self.recordings.mkdir()
        write_tone(folder / "said.wav", PITCH_HZ, seconds=30)
        modules = next((path for path in MODULE_FOLDERS if pathlib.Path(path).is_dir()), MODULE_FOLDERS[0])
        own = f"[{host}]" if ":" in host else host
        config = CONFIG.format(
            host=host, bracketed=own, is_ipv6="yes" if ":" in host else "no", sip_port=first, said=folder / "said.wav",
            rtp_port=first + 2, rtp_end=first + 20, modules=modules, control_port=self.control_port, recordings=self.recordings,
        )  # fmt: skip
        if authority:
            pair, both = authority.issue(user), folder / "certificate.pem"
            both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
            config += f"sip_certificate {both}\nsip_cafile {authority.certificate}\n"
        (folder / "config").write_text(config)
        where = "" if transport == "udp" else f";transport={transport}"
        mode = (";answermode=auto" if answers else "") + (f";mediaenc={srtp}" if srtp else "") + account
        address = f"sip:{user}@{registrar or f'{own}:{first}'}{where}"
        mode += "" if registrar else ";regint=0"
        (folder / "accounts").write_text(f"<{address}>;audio_codecs={codecs};ptime=20{mode}\n")
        (folder / "contacts").write_text("")
        self.log_path = folder / "log"

    def __enter__(self) -> "Baresip":
        with self.log_path.open("wb") as log:
            command = [*self.program, "-f", str(self.folder), "-v"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        try:
            self.control = wait_for("baresip listens", self._connect)
        except BaseException:
            self._kill()
            raise
        return self

    def _connect(self) -> socket.socket | None:
        assert self.process.poll() is None, self.log()
        try:
            with self.inside():
                return socket.create_connection((HOST, self.control_port), timeout=5.0)
        except ConnectionRefusedError:
            return None

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.control.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self._kill()
        assert self.process.returncode is not None

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def command(self, command: str, parameters: str = "") -> dict[str, Any]:
        """Its answer. A netstring of JSON each way; events come on the same line."""
        token = f"{time.monotonic_ns()}"
        content = json.dumps({"command": command, "params": parameters, "token": token}).encode()
        self.control.sendall(b"%d:%s," % (len(content), content))
        while (message := self._receive()).get("token") != token:
            pass
        return message

    def _receive(self) -> dict[str, Any]:
        size = b""
        while not size.endswith(b":"):
            size += self._read(1)
        content = self._read(int(size[:-1]) + 1)
        found = json.loads(content[:-1])
        assert isinstance(found, dict)
        return found

    def _read(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.control.recv(count - len(octets))
            assert more, f"baresip hung up on us\n{self.log()}"
            octets += more
        return octets

    def dial(self, uri: str) -> None:
        assert self.command("dial", uri)["ok"], self.log()
        wait_for(f"{uri} answers", lambda: "Call established" in self.log())

    def hang_up(self) -> None:
        self.command("hangup")
        wait_for("the recordings are complete", lambda: len(list(self.recordings.glob("*.wav"))) >= 2)

    def recording(self, side: str) -> pathlib.Path:
        """`side`: "enc" is what it said, "dec" what it heard."""
        return next(iter(self.recordings.glob(f"*{side}.wav")))
