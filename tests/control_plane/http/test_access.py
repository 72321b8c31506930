"""Who may use the API."""

import asyncio
import pathlib
from typing import Any

import pytest

from control_plane import config
from control_plane.config import Config
from control_plane.errors import ConfigurationError
from control_plane.http.access import tenant_tokens
from control_plane.http_config import Http
from control_plane.secret import Secret
from control_plane.tenant_config import Tenant
from tests.control_plane.http.front import Front, running

TOKEN, OTHER = "a-token-of-our-own-1", "a-token-of-our-own-2"


def statuses(directory: pathlib.Path, http: Http, asked: list[tuple[str, dict[str, str]]]) -> list[int]:
    async def run() -> list[int]:
        async with running(directory, http) as (client, _):
            return [(await client.get(path, headers=headers)).status for path, headers in asked]

    return asyncio.run(run())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_with_tokens_everything_but_health_needs_one(tmp_path: pathlib.Path, front: Front) -> None:
    asked: list[tuple[str, dict[str, str]]] = [
        ("/v1/calls", {}),
        ("/v1/calls", bearer("a-token-of-our-own-3")),
        ("/v1/calls", {"Authorization": f"Basic {TOKEN}"}),
        ("/nothing", {}),
        ("/v1/calls", bearer(TOKEN)),
        ("/openapi.json", bearer(OTHER)),
        ("/healthz", {}),
    ]
    assert statuses(tmp_path, Http(tokens=(Secret(TOKEN), Secret(OTHER))), asked) == [401, 401, 401, 401, 200, 200, 200]


def test_without_tokens_no_web_page_gets_in(tmp_path: pathlib.Path, front: Front) -> None:
    asked: list[tuple[str, dict[str, str]]] = [
        ("/v1/calls", {}),
        ("/v1/calls", {"Host": "localhost:8080"}),
        ("/v1/calls", {"Host": "[::1]"}),
        ("/v1/calls", {"Origin": "https://evil.example.com"}),
        ("/v1/calls", {"Host": "evil.example.com:8080"}),
        ("/v1/calls", {"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"}),
    ]
    assert statuses(tmp_path, Http(), asked) == [200, 200, 200, 403, 403, 200]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"listen": "0.0.0.0:8080"}, "anybody could call out"),
    ({"listen": "[::]:8080"}, "anybody could call out"),
    ({"listen": "localhost:8080"}, "is not ADDRESS:PORT"),
    ({"listen": "0.0.0.0:8080", "tokens": (Secret("short"),)}, "openssl rand"),
    ({"page": True}, "http.listen"),
    ({"webhook": "https://example.com"}, "http.webhook_secret"),
    ({"webhook": "example.com", "webhook_secret": Secret("x")}, "https://"),
]


@pytest.mark.parametrize(("http", "why"), REFUSED)
def test_the_configuration_refuses_what_would_be_open(http: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^http\.") as refused:
        config.check(Config(http=Http(**http)))
    assert why in str(refused.value)


def test_loopback_needs_no_token_and_elsewhere_one_is_enough() -> None:
    for http in (Http(listen="127.0.0.1:8080"), Http(listen="[::1]:8080"), Http(listen="0.0.0.0:8080", tokens=(Secret(TOKEN),))):
        config.check(Config(http=http))
    shown = repr(Config(http=Http(tokens=(Secret(TOKEN),), webhook_secret=Secret("s3cret"))))
    assert TOKEN not in shown and "s3cret" not in shown


def test_a_token_belongs_to_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokens").write_text(f"{OTHER}\n")
    acme, globex = Tenant("acme", tokens=(Secret(TOKEN),)), Tenant("globex", token_file=str(tmp_path / "tokens"))
    assert tenant_tokens((acme, globex), ()) == {TOKEN: "acme", OTHER: "globex"}
    with pytest.raises(ConfigurationError, match='tenants "globex": a token of it is somebody else\'s as well'):
        tenant_tokens((acme, globex), (OTHER,))
