"""Certificates for tests, made by openssl: an authority of one's own, and whom it vouches for."""

import pathlib
import subprocess
from typing import NamedTuple

from tests.conftest import require_peer


class Pair(NamedTuple):
    certificate: pathlib.Path
    key: pathlib.Path


class Authority:
    def __init__(self, folder: pathlib.Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.count = folder, 0
        self.pair = Pair(folder / "ca.pem", folder / "ca.key")
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", str(self.pair.key), "-out", str(self.pair.certificate), "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    @property
    def certificate(self) -> pathlib.Path:
        return self.pair.certificate

    def issue(self, name: str, san: str = "IP:127.0.0.1", into: Pair | None = None) -> Pair:
        """`san`: as openssl writes subjectAltName. `into`: files to write over."""
        self.count += 1
        pair = into or Pair(self.folder / f"{self.count}.pem", self.folder / f"{self.count}.key")
        request, extensions = self.folder / "request", self.folder / "extensions"
        extensions.write_text(f"subjectAltName={san}\nbasicConstraints=CA:FALSE\n")
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", str(pair.key),
            "-out", str(request),
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key), "-CAcreateserial",
            "-days", "2", "-extfile", str(extensions), "-out", str(pair.certificate),
        )  # fmt: skip
        return pair

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run([require_peer("openssl"), *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
