"""/v1/calls/{id}/capture: what is refused; what it streams is in tests/system/test_call_capture.py."""

import asyncio
import pathlib

import pytest

from control_plane.http_config import Http
from control_plane.secret import Secret
from tests.control_plane.http.front import Front, running


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("/v1/calls/none/capture", 404, "there is no such call"),
        ("/v1/calls/c-1/capture?seconds=0", 400, "seconds: a number"),
        ("/v1/calls/c-1/capture?seconds=nan", 400, "seconds: a number"),
        ("/v1/calls/c-1/capture?seconds=soon", 400, "seconds: a number"),
    ],
)
def test_what_cannot_be_captured_says_why(tmp_path: pathlib.Path, front: Front, path: str, status: int, why: str) -> None:
    async def run() -> None:
        async with running(tmp_path) as (client, services):
            response = await client.get(path)
            assert response.status == status and why in (await response.json())["detail"]
            assert services.captures == 0

    asyncio.run(run())


def test_a_few_at_a_time_and_none_without_a_token(tmp_path: pathlib.Path, front: Front) -> None:
    async def run() -> None:
        async with running(tmp_path, Http(tokens=(Secret("a-token-that-is-long-enough"),))) as (client, services):
            assert (await client.get("/v1/calls/c-1/capture")).status == 401
            services.captures = 4
            response = await client.get("/v1/calls/c-1/capture", headers={"Authorization": "Bearer a-token-that-is-long-enough"})
            assert response.status == 503 and response.headers["Retry-After"] == "30"

    asyncio.run(run())
