"""A real PostgreSQL of a test's own: on loopback, in a folder that goes with it, as a user that is not root."""

import getpass
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tests.conftest import require_peer

USER, PASSWORD, DATABASE = "bellframe", "hush", "records"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def programs() -> pathlib.Path:
    """Debian keeps them beside the path, a folder for each version."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if not found:
        require_peer("pg_ctlcluster")
    return found[-1].parent


class Postgres:
    """`start` and `stop` as often as wanted; the data stay until `discard`."""

    def __init__(self) -> None:
        self.programs, self.port = programs(), free_port()
        self.user = "postgres" if os.getuid() == 0 else getpass.getuser()  # it refuses to run as root
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
        if os.getuid() == 0:
            entry = pwd.getpwnam(self.user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.process: subprocess.Popen[bytes] | None = None
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run("initdb", "--pgdata", str(self.data), "--username", USER, "--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync")
        self.start()
        self.run("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", USER, DATABASE)

    @property
    def data(self) -> pathlib.Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def run(self, program: str, *words: str) -> None:
        user = self.user if os.getuid() == 0 else None
        environment = {"PATH": "/usr/bin:/bin", "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [self.programs / program, *words], capture_output=True, text=True, timeout=60, user=user, env=environment, cwd="/", check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", "fsync": "off",
            "dynamic_shared_memory_type": "mmap", "max_connections": "20",
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            user = self.user if os.getuid() == 0 else None
            command = [self.programs / "postgres", "-D", str(self.data), *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/", env={"LC_ALL": "C.UTF-8"})
        deadline = time.monotonic() + 30
        while not self.is_ready():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def is_ready(self) -> bool:
        command = [self.programs / "pg_isready", "--host", "127.0.0.1", "--port", str(self.port), "--quiet"]
        return subprocess.run(command, timeout=10, check=False).returncode == 0

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: fast, SIGQUIT: as a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def discard(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
