"""The part of the configuration that is about the door where bots dial us."""

import ipaddress
from collections.abc import Iterable
from typing import Protocol

from control_plane.errors import ConfigurationError
from control_plane.listen_config import parse_address
from control_plane.secret import Secret
from control_plane.tokens import check_token


class Bridge(Protocol):
    """What is read here of the section [bridge]."""

    @property
    def processes(self) -> int: ...
    @property
    def door(self) -> str: ...
    @property
    def door_tokens(self) -> tuple[Secret, ...]: ...
    @property
    def door_token_file(self) -> str: ...
    @property
    def door_certificate(self) -> str: ...
    @property
    def door_key(self) -> str: ...


def check_door(bridge: Bridge, agents: Iterable[str]) -> None:
    """`agents`: of the routes. Raises ConfigurationError."""
    if not bridge.door:
        if at_door := [agent for agent in agents if agent.startswith(("door:", "door+"))]:
            raise ConfigurationError(f'routes: the agent "{at_door[0]}" waits at the door: set bridge.door, for example "0.0.0.0:8443"')
        if bridge.door_tokens or bridge.door_token_file or bridge.door_certificate or bridge.door_key:
            raise ConfigurationError('bridge.door: name it too, for example "0.0.0.0:8443": there are other settings for it')
        return
    host, port = parse_address(bridge.door, "bridge.door")
    if port + bridge.processes - 1 > 65_535:
        raise ConfigurationError(f'bridge.door: "{bridge.door}" leaves no port for the last of {bridge.processes} processes')
    if not (bridge.door_tokens or bridge.door_token_file):
        raise ConfigurationError("bridge.door: name bridge.door_tokens or bridge.door_token_file, or anybody could take calls")
    if not bridge.door_certificate and not ipaddress.ip_address(host).is_loopback:
        remedy = "name bridge.door_certificate, or put a proxy with TLS before a door on loopback"
        raise ConfigurationError(f'bridge.door: "{bridge.door}" can be reached from elsewhere, and tokens would go in the clear: {remedy}')
    for token in bridge.door_tokens:
        check_token(token.reveal(), "bridge.door_tokens")
