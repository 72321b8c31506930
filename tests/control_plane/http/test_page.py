"""The page: off by default, whole in one file, and allowed nothing but itself."""

import asyncio
import base64
import hashlib
import pathlib
import re

import pytest

from control_plane.http import page
from control_plane.http_config import Http
from control_plane.secret import Secret
from tests.control_plane.http.front import Front, running

TOKEN = "a-token-of-our-own-1"


@pytest.mark.parametrize("is_on", [True, False])
def test_it_is_there_when_it_is_asked_for_and_needs_no_token_itself(tmp_path: pathlib.Path, front: Front, is_on: bool) -> None:
    async def run() -> None:
        async with running(tmp_path, Http(page=is_on, tokens=(Secret(TOKEN),))) as (client, _):
            response = await client.get("/")
            assert response.status == (200 if is_on else 404)
            if is_on:
                assert response.content_type == "text/html" and TOKEN not in await response.text()
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]

    asyncio.run(run())


def test_the_policy_allows_its_own_script_and_nothing_from_elsewhere() -> None:
    body, policy = page.load()
    text = body.decode()
    script = text.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "unsafe" not in policy
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text), "nothing from elsewhere"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=\"", text), "what callers write stays text"
    assert text.count("<script") == text.count("<style") == 1 and " style=" not in text


def test_it_asks_for_addresses_that_there_are() -> None:
    from control_plane.http.api import OPERATIONS

    text = page.FILE.read_text()
    found = re.findall(r"[`\"](/(?:v1|healthz)[^`\"]*)[`\"]", text)
    asked = {re.sub(r"\$\{[^}]*\}", "{call_id}", address).partition("?")[0] for address in found}
    assert asked and asked <= {operation.path for operation in OPERATIONS}, asked
