"""Kamailio, which nobody here wrote: a registrar and proxy that asks for a password, as a carrier does."""

import pathlib
import subprocess
from types import TracebackType
from typing import Self

from tests.conftest import require_peer
from tests.system.server import HOST, free_ports, wait_for

MODULE_FOLDERS = ("/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib/aarch64-linux-gnu/kamailio/modules")
HEAD = """\
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
"""
CONFIG = """\
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_expires", {expires_s})
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && !has_totag()) {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{realm}", "{password}", "0")) {{ www_challenge("{realm}", "1"); exit; }}
        xlog("L_WARN", "LET IN REGISTER $fU\\n");
        save("location");
        exit;
    }}
    if ($fU == "{user}" && is_method("INVITE|BYE")) {{
        if (!pv_proxy_authenticate("{realm}", "{password}", "0")) {{ proxy_challenge("{realm}", "1"); exit; }}
        consume_credentials();
        xlog("L_WARN", "LET IN $rm $rU\\n");
    }}
    if (has_totag()) {{
        if (is_method("ACK") && !loose_route()) {{ if (t_check_trans()) t_relay(); exit; }}
        if (!is_method("ACK")) loose_route();
        t_relay();
        exit;
    }}
    record_route();
    if (is_method("INVITE") && $fU == "{user}") {{ $ru = "sip:probe@{host}:{phone_port}"; t_relay(); exit; }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
    t_relay();
}}
"""


class Proxy:
    """`with Proxy(folder, routing) as proxy`: running inside. `routing`: what stands behind HEAD; `fields` are filled in (str.format)."""

    def __init__(self, folder: pathlib.Path, routing: str, **fields: object) -> None:
        self.program, self.folder, self.port = require_peer("kamailio"), folder, free_ports(2)
        modules = next((path for path in MODULE_FOLDERS if pathlib.Path(path).is_dir()), MODULE_FOLDERS[0])
        (folder / "kamailio.cfg").write_text((HEAD + routing).format(host=HOST, port=self.port, modules=modules, **fields))
        self.log_path = folder / "kamailio.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            command = [self.program, "-DD", "-E", "-f", str(self.folder / "kamailio.cfg"), "-m", "32", "-M", "4", "-Y", str(self.folder)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        wait_for("kamailio listens", self._listens)

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log()
        return f":{self.port:04X} " in pathlib.Path("/proc/net/udp").read_text()

    def stop(self) -> None:
        """Its main process ends the others."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


class Kamailio(Proxy):
    """A registrar and proxy. Whoever calls as `user` must know the password; those calls go to `phone_port`."""

    realm = "carrier.example"

    def __init__(self, folder: pathlib.Path, user: str, password: str, phone_port: int = 9, expires_s: int = 600) -> None:
        fields = {"user": user, "password": password, "phone_port": phone_port, "expires_s": expires_s, "realm": self.realm}
        super().__init__(folder, CONFIG, **fields)

    def let_in(self, what: str) -> int:
        """How often a request passed with the right password: "REGISTER bell", "INVITE +4930123"."""
        return self.log().count(f"LET IN {what}")
