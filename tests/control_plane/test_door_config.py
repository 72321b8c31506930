from typing import Any

import pytest

from control_plane import config
from control_plane.config import Bridge, Config, Route
from control_plane.errors import ConfigurationError
from control_plane.secret import Secret

TOKENS = (Secret("a-token-of-the-tests-1"),)


def test_a_door_needs_tokens_and_tls_unless_it_is_on_loopback():
    config.check(Config(bridge=Bridge(door="127.0.0.1:8443", door_tokens=TOKENS), routes=(Route(agent="door:desk"),)))
    config.check(Config(bridge=Bridge(door="0.0.0.0:8443", door_token_file="tokens", door_certificate="/etc/door.pem")))


@pytest.mark.parametrize(
    ("bridge", "why"),
    [
        ({"door": "127.0.0.1:8443"}, "anybody could take calls"),
        ({"door": "0.0.0.0:8443", "door_tokens": TOKENS}, "tokens would go in the clear"),
        ({"door": "localhost:8443", "door_tokens": TOKENS}, "is not ADDRESS:PORT"),
        ({"door": "127.0.0.1:65535", "door_tokens": TOKENS, "processes": 2}, "no port for the last of 2"),
        ({"door": "127.0.0.1:8443", "door_tokens": (Secret("short"),)}, "openssl rand"),
        ({"door_tokens": TOKENS}, "bridge.door: name it too"),
    ],
)
def test_what_would_be_open_or_for_nothing_is_refused(bridge: dict[str, Any], why: str):
    with pytest.raises(ConfigurationError, match=why):
        config.check(Config(bridge=Bridge(**bridge)))


def test_a_route_to_the_door_needs_one():
    with pytest.raises(ConfigurationError, match=r"set bridge\.door"):
        config.check(Config(routes=(Route(agent="door:desk"),)))
