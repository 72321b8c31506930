"""TLS contexts from files, and what happens when the files change."""

import os
import pathlib
import ssl

import pytest

from control_plane.config import Sip
from control_plane.errors import ConfigurationError
from sip_front.certificates import Certificates
from tests.pki import Authority, Pair

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module", name="authority")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def section(pair: Pair, **more: str) -> Sip:
    return Sip(tls_certificate=str(pair.certificate), tls_key=str(pair.key), **more)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "127.0.0.1") -> ssl.SSLObject:
    """Both sides in memory. Raises ssl.SSLError; returns the client's."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for side in sides:
        side.do_handshake()
    return sides[0]


def serial(certificates: Certificates, authority: Authority) -> str:
    assert certificates.server is not None
    client = Certificates(Sip(tls_server_ca=str(authority.certificate))).client
    found = shake_hands(certificates.server, client).getpeercert()
    assert found is not None
    return str(found["serialNumber"])


def test_a_client_checks_the_name_and_who_signed_it(authority: Authority) -> None:
    ours = Certificates(section(authority.issue("ours", "IP:127.0.0.1,DNS:sip.example.com"), tls_server_ca=str(authority.certificate)))
    assert ours.server is not None
    assert shake_hands(ours.server, ours.client, "sip.example.com").version() in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        shake_hands(ours.server, ours.client, "other.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ours.server, Certificates(Sip()).client)


def test_nothing_below_tls_1_2_is_spoken(authority: Authority) -> None:
    ours = Certificates(section(authority.issue("ours")))
    assert ours.server is not None and {ours.server.minimum_version, ours.client.minimum_version} == {ssl.TLSVersion.TLSv1_2}


def test_mutual_tls_wants_a_certificate_of_its_authority(authority: Authority, tmp_path: pathlib.Path) -> None:
    other = Authority(tmp_path / "other", "Another Authority")
    ours = Certificates(section(authority.issue("ours"), tls_client_ca=str(authority.certificate)))
    assert ours.server is not None
    trusted = Certificates(section(authority.issue("peer"), tls_server_ca=str(authority.certificate)))
    shake_hands(ours.server, trusted.client)
    for client in (Sip(tls_server_ca=str(authority.certificate)), section(other.issue("peer"), tls_server_ca=str(authority.certificate))):
        with pytest.raises(ssl.SSLError):
            shake_hands(ours.server, Certificates(client).client)


def test_a_renewed_certificate_is_used_once_it_is_whole(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    pair = authority.issue("ours")
    certificates = Certificates(section(pair))
    first = serial(certificates, authority)
    certificates.look()
    renewed = authority.issue("ours")
    os.replace(renewed.certificate, pair.certificate)
    certificates.look()
    os.replace(renewed.key, pair.key)  # half of it was there at the look
    certificates.look()
    assert serial(certificates, authority) == first and not caplog.records
    certificates.look()
    assert serial(certificates, authority) != first


def test_a_renewal_that_went_wrong_leaves_the_old_one_in_use(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    pair = authority.issue("ours")
    certificates = Certificates(section(pair))
    first = serial(certificates, authority)
    pair.certificate.write_text("not a certificate")
    for _ in range(3):
        certificates.look()
    assert serial(certificates, authority) == first and caplog.text.count("the certificates from before stay in use") == 1
    authority.issue("ours", into=pair)
    certificates.reload()
    assert serial(certificates, authority) != first


def test_what_cannot_be_used_is_said_with_the_setting_and_the_remedy(authority: Authority, tmp_path: pathlib.Path) -> None:
    good, other = authority.issue("a"), authority.issue("b")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("x")
    for sip, said in (
        (Sip(tls_certificate=str(good.certificate), tls_key=str(other.key)), "key values mismatch.*its key without a password"),
        (Sip(tls_certificate=str(tmp_path / "no.pem")), "sip.tls_certificate, sip.tls_key: cannot read .*no.pem"),
        (Sip(tls_certificate=str(garbage)), "sip.tls_certificate: .*garbage.pem cannot be used"),
        (section(good, tls_client_ca=str(garbage)), "sip.tls_client_ca: .*garbage.pem holds no certificate in PEM"),
        (Sip(tls_server_ca=str(tmp_path / "no.pem")), "sip.tls_server_ca: cannot read"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            Certificates(sip)
