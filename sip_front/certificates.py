"""TLS contexts made of the files that the configuration names, and made again when the files change. TLS 1.2 and newer.

What cannot be read while we run leaves the old certificates in use: calls must not end because a renewal went wrong.
"""

import logging
import os
import ssl

from control_plane.config import Sip
from control_plane.errors import ConfigurationError

log = logging.getLogger("tls")
Stamp = tuple[tuple[int, int, int], ...]
"""Of each file: when it was written, its size and its inode."""


class Certificates:
    def __init__(self, sip: Sip) -> None:
        """Raises ConfigurationError."""
        self.sip = sip
        self.files = [file for file in (sip.tls_certificate, sip.tls_key, sip.tls_client_ca, sip.tls_server_ca) if file]
        self.loaded = self.seen = self._stamp()
        self._load()

    def _load(self) -> None:
        """Both or neither: what is half written changes nothing."""
        server, client = server_context(self.sip), client_context(self.sip)
        self.server, self._client, self._is_complete = server, client, bool(self.sip.tls_server_ca)

    @property
    def client(self) -> ssl.SSLContext:
        """Those that the system trusts are read when they are first needed: 20 ms that a front which is started anew does not have."""
        if not self._is_complete:
            self._client.load_default_certs()
            self._is_complete = True
        return self._client

    def look(self) -> None:
        """Once a second: files that changed, and have been left alone since the last look, are read."""
        stamp = self._stamp()
        has_settled, self.seen = stamp == self.seen, stamp
        if has_settled and stamp != self.loaded:
            self.reload()

    def reload(self) -> None:
        self.loaded = self.seen = self._stamp()
        try:
            self._load()
        except ConfigurationError as failure:
            log.error("%s; the certificates from before stay in use", failure)
        else:
            log.info("certificates read again: %s", ", ".join(self.files) or "none is configured")

    def _stamp(self) -> Stamp:
        found = []
        for file in self.files:
            try:
                status = os.stat(file)
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


def server_context(sip: Sip) -> ssl.SSLContext | None:
    """None: we have no certificate, and no tls: place. Raises ConfigurationError."""
    if not sip.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client must not make us compute for nothing
    _show_certificate(context, sip)
    if sip.tls_client_ca:
        _trust(context, sip.tls_client_ca, "sip.tls_client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(sip: Sip) -> ssl.SSLContext:
    """It checks the name. Without sip.tls_server_ca it trusts nobody yet. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if sip.tls_server_ca:
        _trust(context, sip.tls_server_ca, "sip.tls_server_ca")
    if sip.tls_certificate:
        _show_certificate(context, sip)  # for those who ask: Teams and others want mutual TLS
    return context


def _show_certificate(context: ssl.SSLContext, sip: Sip) -> None:
    try:
        context.load_cert_chain(sip.tls_certificate, sip.tls_key or None, password=_no_password)
    except ssl.SSLError as failure:
        key = sip.tls_key or sip.tls_certificate
        remedy = f"it must be PEM, and {key} its key without a password"
        raise ConfigurationError(f"sip.tls_certificate: {sip.tls_certificate} cannot be used ({_reason(failure)}); {remedy}") from failure
    except OSError as failure:
        files = " or ".join(dict.fromkeys(file for file in (sip.tls_certificate, sip.tls_key) if file))
        raise ConfigurationError(f"sip.tls_certificate, sip.tls_key: cannot read {files}: {failure.strerror or failure}") from failure


def _no_password() -> str:
    """Else OpenSSL asks the terminal."""
    return ""


def _trust(context: ssl.SSLContext, file: str, setting: str) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as failure:
        raise ConfigurationError(f"{setting}: {file} holds no certificate in PEM ({_reason(failure)})") from failure
    except OSError as failure:
        raise ConfigurationError(f"{setting}: cannot read {file}: {failure.strerror or failure}") from failure


def _reason(failure: ssl.SSLError) -> str:
    return (failure.reason or str(failure)).lower().replace("_", " ")
