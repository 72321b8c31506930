"""The page in a browser: a call appears, is looked at, and is hung up."""

import asyncio
import os
import pathlib

import pytest

from tests.conftest import require_peer
from tests.system import browser
from tests.system.caller import Caller, tone
from tests.system.conftest import StartServer
from tests.system.server import HOST, Server, free_tcp_port

TOKEN = "the-token-of-this-test"
pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def port() -> int:
    return free_tcp_port()


@pytest.fixture(scope="module")
def paged(start_server: StartServer, port: int) -> Server:
    http = {"listen": f"{HOST}:{port}", "tokens": [TOKEN], "page": True}
    return start_server(only=[{"agent": "echo"}], http=http, sip={"trace": True})


def test_a_call_is_seen_heard_and_hung_up(paged: Server, port: int, tmp_path: pathlib.Path) -> None:
    chromium = require_peer("chromium")
    pictures = pathlib.Path(os.environ.get("BELLFRAME_PICTURES", tmp_path))

    async def look(caller: Caller) -> None:
        async with browser.page(chromium, tmp_path / "profile", f"http://{HOST}:{port}/") as page:
            await page.wait_for("!document.getElementById('login').hidden")
            await page.evaluate(f"document.getElementById('token').value = '{TOKEN}'; document.querySelector('#login button').click()")
            row = await page.wait_for("document.querySelector('#calls tr')?.innerText")
            assert caller.name in row and "talking" in row
            await page.evaluate("document.querySelector('#calls tr').click()")
            ladder = await page.wait_for("document.querySelectorAll('.message').length >= 5 && document.getElementById('ladder').innerText")
            assert ladder.index("INVITE") < ladder.index("200 OK (INVITE)") < ladder.index("ACK")
            await page.wait_for("levels.length > 8 && levels.at(-1).rx_dbov > -30 && levels.at(-1).tx_dbov > -30")
            assert "% lost" in await page.evaluate("document.getElementById('quality').textContent")
            await page.wait_for("document.getElementById('state').textContent === 'accepts calls'")
            await page.evaluate("document.querySelector('.message').click()")
            assert "INVITE sip:echo@" in await page.evaluate("document.querySelector('#ladder pre').innerText")
            (pictures / "page.png").write_bytes(await page.picture())
            await page.evaluate("window.confirm = () => true; document.getElementById('hangup').click()")
            await asyncio.to_thread(caller.answer_bye)
            await page.wait_for("document.querySelector('#calls tr').innerText.includes('hung up through the API')")
            await page.wait_for("document.getElementById('ladder').innerText.includes('BYE')")
            complaints = [text for text in page.complaints if "401" not in text]
            assert complaints == [], "without a token the first question is refused; nothing else may go wrong"

    with Caller(paged.sip_port, payload=tone(440)) as caller:
        caller.wait_for_packets(30)
        asyncio.run(look(caller))
