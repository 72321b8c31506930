"""Chromium without a window, told what to do over its own protocol (CDP)."""

import asyncio
import base64
import itertools
import os
import pathlib
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0")
LIMIT_S = 20.0


class Page:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.complaints: list[str] = []
        """Of the page: exceptions, and what its policy forbade."""

    async def do(self, method: str, **parameters: Any) -> Any:
        number = next(self.numbers)
        await self.socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            told = await self.socket.receive_json(timeout=LIMIT_S)
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(str(told["params"]))

    async def evaluate(self, expression: str) -> Any:
        result = await self.do("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """Until it is true; what raises is not true yet, because the page is loading."""
        async with asyncio.timeout(LIMIT_S):
            while not (found := await self.evaluate(f"(() => {{ try {{ return {expression} }} catch {{ return null }} }})()")):
                await asyncio.sleep(0.05)
        return found

    async def picture(self) -> bytes:
        """As PNG."""
        return base64.b64decode((await self.do("Page.captureScreenshot"))["data"])


def start(program: str, folder: pathlib.Path, width: int, height: int) -> "subprocess.Popen[bytes]":
    command = [program, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


@asynccontextmanager
async def page(program: str, folder: pathlib.Path, address: str, width: int = 1320, height: int = 860) -> AsyncIterator[Page]:
    process = start(program, folder, width, height)
    try:
        port_file = folder / "DevToolsActivePort"
        async with asyncio.timeout(LIMIT_S):
            while not port_file.exists() or not port_file.read_text().strip():
                assert process.poll() is None, "chromium ended"
                await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                targets = await response.json()
            target = next(target for target in targets if target["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                shown = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await shown.do(f"{domain}.enable")
                await shown.do("Page.navigate", url=address)
                yield shown
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its many processes, in the session that is its own
        process.wait()
