"""Kamailio with rtpengine, which nobody here wrote: an SBC that stands in the signalling and in the media, as carriers' do.

What comes from Bellframe goes to a phone, and all the rest to Bellframe. It rewrites the SDP, so media come from ports of its own, and
it can put SRTP on one side of it.
"""

import pathlib
import subprocess
from contextlib import ExitStack
from types import TracebackType

from tests.conftest import require_peer
from tests.system.kamailio import MODULE_FOLDERS
from tests.system.server import HOST, free_ports, wait_for

CONFIG = """\
debug=2
log_stderror=yes
fork=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:{host}:{port}
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:{host}:{control_port}")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && !has_totag()) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{
        if (is_method("ACK") && !loose_route()) {{ if (t_check_trans()) t_relay(); exit; }}
        if (!is_method("ACK")) loose_route();
        if (is_method("INVITE") && has_body("application/sdp")) rtpengine_offer("{flags}");
        if (is_method("BYE")) rtpengine_delete();
        t_on_reply("media");
        t_relay();
        exit;
    }}
    record_route();
    if (is_method("INVITE")) rtpengine_offer("{flags}");
    if ($sp == {inside}) $du = "sip:{host}:{phone}"; else $du = "sip:{host}:{inside}";
    t_on_reply("media");
    t_relay();
}}

onreply_route[media] {{ if (has_body("application/sdp")) rtpengine_answer("{answer_flags}"); }}
"""


class Sbc:
    """`with Sbc(folder, inside=PORT) as sbc`: running inside; phones dial `sbc.port`. `flags`: rtpengine's, of offers and of answers."""

    def __init__(
        self, folder: pathlib.Path, inside: int, phone: int = 9, flags: str = "replace-origin", answer_flags: str = "replace-origin"
    ) -> None:
        self.kamailio, self.rtpengine, self.folder = require_peer("kamailio"), require_peer("rtpengine"), folder
        self.port, self.control_port, self.first_port = free_ports(2), free_ports(2), free_ports(40)
        modules = next((path for path in MODULE_FOLDERS if pathlib.Path(path).is_dir()), MODULE_FOLDERS[0])
        text = CONFIG.format(
            host=HOST, port=self.port, modules=modules, control_port=self.control_port, inside=inside, phone=phone, flags=flags,
            answer_flags=answer_flags,
        )  # fmt: skip
        (folder / "sbc.cfg").write_text(text)
        self.log_path = folder / "sbc.log"
        self.processes = ExitStack()

    def __enter__(self) -> "Sbc":
        relay = [
            self.rtpengine, "--foreground", "--log-stderr", "--table=-1", f"--interface={HOST}", f"--listen-ng={HOST}:{self.control_port}",
            f"--port-min={self.first_port}", f"--port-max={self.first_port + 38}", "--config-file=none", "--num-threads=1",
        ]  # fmt: skip
        proxy = [self.kamailio, "-DD", "-E", "-f", str(self.folder / "sbc.cfg"), "-m", "32", "-M", "4", "-Y", str(self.folder)]
        try:
            for command, port in ((relay, self.control_port), (proxy, self.port)):
                self._start(command)
                wait_for(f"{command[0]} listens", lambda port=port: f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text())
        except BaseException:
            self.processes.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.processes.close()

    def _start(self, command: list[str]) -> None:
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.processes.callback(self._stop, process)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
