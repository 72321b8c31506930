"""The description is of what is there."""

import asyncio
import json
import pathlib

import pytest

from control_plane.http.api import OPERATIONS, openapi
from tests.control_plane.http.front import Front, running


def test_every_operation_is_described_with_what_it_takes_and_gives() -> None:
    found = json.loads(json.dumps(openapi()))
    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert described == {(o.method, o.path) for o in OPERATIONS}
    create = found["paths"]["/v1/calls"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/NewCall"}
    assert create["responses"]["202"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/CallFacts"}
    schemas = found["components"]["schemas"]
    assert schemas["NewCall"]["required"] == ["to"] and schemas["NewCall"]["additionalProperties"] is False
    assert "no answer" in schemas["CallFacts"]["properties"]["outcome"]["enum"]
    assert all(method["summary"] for methods in found["paths"].values() for method in methods.values())


def test_every_reference_leads_somewhere() -> None:
    found = openapi()

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            return [v for k, v in value.items() if k == "$ref"] + [r for v in value.values() for r in references(v)]
        return [r for v in value for r in references(v)] if isinstance(value, list | tuple) else []

    assert {r.rpartition("/")[2] for r in references(found)} <= set(found["components"]["schemas"])


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/v1/calls", 405), ("GET", "/openapi.json", 200)])
def test_what_is_not_there_says_where_to_look(tmp_path: pathlib.Path, front: Front, method: str, path: str, status: int) -> None:
    async def run() -> None:
        async with running(tmp_path) as (client, _):
            response = await client.request(method, path)
            body = await response.json()
            assert response.status == status and (status == 200 or "/openapi.json" in body["detail"])

    asyncio.run(run())
