"""tshark, which nobody here wrote: records loopback, and says what it thinks of it."""

import pathlib
import secrets
import socket
import subprocess
from types import TracebackType

import pytest

from tests.conftest import require_peer
from tests.system.server import HOST, wait_for


class Capture:
    """`with Capture(file, filter) as capture`: everything that crosses loopback inside is in the file afterwards."""

    def __init__(self, file: pathlib.Path, capture_filter: str) -> None:
        self.file, self.log_path = file, file.with_suffix(".log")
        self.marker, self.mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), secrets.token_bytes(16)
        self.marker.bind((HOST, 0))
        self.filter = f"{capture_filter} or udp port {self.marker.getsockname()[1]}"

    def __enter__(self) -> "Capture":
        command = [require_peer("tshark"), "-i", "lo", "-n", "-w", str(self.file), "-f", self.filter, "-a", "duration:60", "-B", "8"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for("tshark captures", self._captures)
        return self

    def _captures(self) -> bool:
        log = self.log_path.read_text(errors="replace")
        if self.process.poll() is not None:
            pytest.skip(f"tshark may not capture on lo here: {log[-500:]}")
        return "Capture started" in log

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:  # what is sent last is in the file: then so is everything before it
                self.marker.sendto(self.mark, self.marker.getsockname())
                wait_for("tshark has written everything", lambda: self.mark in self.file.read_bytes(), every_s=0.1)
        finally:
            self.marker.close()
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def read(file: pathlib.Path, sip_port: int, *arguments: str) -> str:
    """What `tshark -r` prints. RTP is found by the SDP of the calls in the capture."""
    command = [require_peer("tshark"), "-r", str(file), "-n", "-d", f"udp.port=={sip_port},sip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(file: pathlib.Path, sip_port: int, display_filter: str, *names: str) -> list[list[str]]:
    """One row a packet that the filter lets through."""
    columns = [part for name in names for part in ("-e", name)]
    return [line.split("\t") for line in read(file, sip_port, "-Y", display_filter, "-T", "fields", *columns).splitlines()]
