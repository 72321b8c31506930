"""Kamailio with rtpengine, which nobody here wrote: an SBC that stands in the signalling and in the media, as carriers' do.

What comes from Bellframe goes to a phone, and all the rest to Bellframe. It rewrites the SDP, so media come from ports of its own, and
it can put SRTP on one side of it.
"""

import pathlib
import subprocess

from tests.conftest import require_peer
from tests.system.kamailio import Proxy
from tests.system.server import HOST, free_ports, wait_for

CONFIG = """\
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


class Sbc(Proxy):
    """`with Sbc(folder, inside=PORT) as sbc`: running inside; phones dial `sbc.port`. `flags`: rtpengine's, of offers and of answers."""

    def __init__(
        self, folder: pathlib.Path, inside: int, phone: int = 9, flags: str = "replace-origin", answer_flags: str = "replace-origin"
    ) -> None:
        self.rtpengine, self.control_port, self.first_port = require_peer("rtpengine"), free_ports(2), free_ports(40)
        fields = {"control_port": self.control_port, "inside": inside, "phone": phone, "flags": flags, "answer_flags": answer_flags}
        super().__init__(folder, CONFIG, **fields)

    def start(self) -> None:
        command = [
            self.rtpengine, "--foreground", "--log-stderr", "--table=-1", f"--interface={HOST}", f"--listen-ng={HOST}:{self.control_port}",
            f"--port-min={self.first_port}", f"--port-max={self.first_port + 38}", "--config-file=none", "--num-threads=1",
        ]  # fmt: skip
        with (self.folder / "rtpengine.log").open("wb") as log:
            self.relay = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        try:
            listens = f":{self.control_port:04X} "
            wait_for("rtpengine listens", lambda: listens in pathlib.Path("/proc/net/udp").read_text())
            super().start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if hasattr(self, "process"):
            super().stop()
        self.relay.terminate()
        try:
            self.relay.wait(10)
        except subprocess.TimeoutExpired:
            self.relay.kill()
            self.relay.wait()
