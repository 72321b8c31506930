"""HTTPS requests of models: the address of a session, and the tools that a URL does."""

import time

import aiohttp
import msgspec

from ai_bridge.bounded import read_most
from ai_bridge.call import Call
from ai_bridge.models.model import Request
from ai_bridge.models.tools import MOST_RESULT, Arguments, ToolFailed
from ai_bridge.wires.socket import Unreachable, tls, without_secrets
from control_plane.http.webhooks import sign

LIMIT_S = 10.0
MOST_ANSWER = 4 * MOST_RESULT
"""Octets: what is beyond, no model is told."""


async def fetch(request: Request, ca_file: str) -> bytes:
    """What it answers, where that is a success. Raises Unreachable."""
    where = without_secrets(request.url)
    try:
        status, answer = await _ask(request, ca_file)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
        raise Unreachable(f"the model at {where} cannot be reached: {failure or type(failure).__name__}") from None
    if status // 100 != 2:
        raise Unreachable(f"the model at {where} answers {status}: {answer[:200].decode(errors='replace')}")
    return answer


class Asker:
    """Does the tools of `tools_file`: posts them to `tools_url`."""

    def __init__(self, url: str, secret: bytes, ca_file: str) -> None:
        self.url, self.secret, self.ca_file = url, secret, ca_file

    async def __call__(self, call: Call, name: str, arguments: Arguments) -> str:
        """Raises ToolFailed."""
        body = msgspec.json.encode(
            {"call_id": call.call_id, "caller": call.caller, "callee": call.callee, "tool": name, "arguments": dict(arguments)}
        )
        headers = {"Content-Type": "application/json"}
        if self.secret:
            at = str(int(time.time()))
            headers["Bellframe-Signature"] = f"t={at},v1={sign(self.secret, at, body)}"
        try:
            status, answer = await _ask(Request(self.url, headers, body), self.ca_file)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
            raise ToolFailed(f"tools_url cannot be reached: {failure or type(failure).__name__}") from None
        if status // 100 != 2:
            raise ToolFailed(f"tools_url answers {status}")
        return answer.decode(errors="replace")


async def _ask(request: Request, ca_file: str) -> tuple[int, bytes]:
    limit = aiohttp.ClientTimeout(total=LIMIT_S)
    encrypted = tls(ca_file) if request.url.startswith("https:") else False
    async with (
        aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.request(
            request.method, request.url, data=request.body or None, headers=request.headers, allow_redirects=False, ssl=encrypted
        ) as response,
    ):
        return response.status, (await read_most(response.content, MOST_ANSWER))[:MOST_ANSWER]
