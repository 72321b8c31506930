import pytest

from ai_bridge.arguments import read
from ai_bridge.wires.options import Options
from control_plane.errors import ConfigurationError


def test_what_is_not_for_us_is_for_the_bot():
    given, left = read(Options, {"fallback": "menu", "retries": "2", "silent_seconds": "2.5", "shop": "12"})
    assert (given.fallback, given.retries, given.silent_seconds, left) == ("menu", 2, 2.5, {"shop": "12"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"retries": "many"}, "retries"),
        ({"retries": "11"}, "retries is 11, not from 0 to 10"),
        ({"connect_seconds": "nan"}, "connect_seconds is nan"),
    ],
)
def test_a_wrong_value_is_named(arguments, reason):
    with pytest.raises(ConfigurationError, match=reason):
        read(Options, arguments)


def test_secrets_come_from_files_and_the_services_credentials_and_are_never_shown(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    given, _ = read(Options, {"secret_file": "token", "authorization_file": str(tmp_path / "token")})
    assert given.signing_secret() == b"s3cret" and given.headers() == {"Authorization": "s3cret"}
    direct, _ = read(Options, {"secret": "s3cret", "authorization": "Bearer s3cret"})
    assert direct.signing_secret() == b"s3cret" and direct.headers() == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(direct)
    missing, _ = read(Options, {"secret_file": "nothing"})
    with pytest.raises(ConfigurationError, match=r"secret_file: .*nothing cannot be read: No such file"):
        missing.signing_secret()
