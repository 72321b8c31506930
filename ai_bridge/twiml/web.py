"""What a webhook is sent, as Twilio sends it: a form, or a query, signed with the account's auth token."""

import base64
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping

import aiohttp

from ai_bridge import twiml
from ai_bridge.bounded import read_most
from ai_bridge.wires.options import Options
from ai_bridge.wires.socket import tls, without_secrets
from control_plane.guarded_resolver import Guarded
from control_plane.twiml import MOST_BYTES

LIMIT_S = 15.0
"""What a webhook may take; Twilio gives it as long."""
MOST_SOUND_BYTES = 10 << 20


class TwimlFailed(Exception):
    """What the document asks for cannot be had. The text is for whoever wrote it."""


def sign(secret: bytes, url: str, form: Mapping[str, str]) -> str:
    """X-Twilio-Signature: of the URL, and the form's names and values in order of the names."""
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(secret, signed.encode(), hashlib.sha1).digest()).decode()


def origin_of(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


class Web:
    def __init__(self, options: Options, home: str) -> None:
        """`home`: the route's own address. Nobody else is sent its Authorization, and `is_own` is for what it names: all else is asked
        on the internet only (control_plane/reach.py). Raises ConfigurationError."""
        self._secret, self._headers, self._ca_file = options.signing_secret(), options.headers(), options.ca_file
        self._home = origin_of(home)

    def is_home(self, url: str) -> bool:
        return bool(self._home[1]) and origin_of(url) == self._home

    async def ask(self, url: str, method: str, form: Mapping[str, str], is_own: bool = True) -> bytes:
        """What it answers. Raises TwimlFailed."""
        if method == "GET":
            parts = urllib.parse.urlsplit(url)
            query = "&".join(filter(None, (parts.query, urllib.parse.urlencode(form))))
            url, form = urllib.parse.urlunsplit(parts._replace(query=query)), {}
        signed = {"X-Twilio-Signature": sign(self._secret, url, form)} if self._secret else {}
        return (await self._request(url, method, signed, form, MOST_BYTES, is_own))[0]

    async def sound(self, url: str, is_own: bool = True) -> tuple[bytes, str]:
        """A file and its content type. Raises TwimlFailed."""
        return await self._request(url, "GET", {}, {}, MOST_SOUND_BYTES, is_own)

    async def _request(
        self, url: str, method: str, headers: Mapping[str, str], form: Mapping[str, str], most: int, is_own: bool
    ) -> tuple[bytes, str]:
        parts, where = urllib.parse.urlsplit(url), without_secrets(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TwimlFailed(f'"{where[:200]}" is not an address that begins with https://')
        headers = {**self._headers, **headers} if self.is_home(url) else headers
        resolver = None if is_own or self.is_home(url) else Guarded(twiml.reach)
        limit, encrypted = aiohttp.ClientTimeout(total=LIMIT_S), tls(self._ca_file) if parts.scheme == "https" else False
        try:
            if resolver is not None:
                twiml.reach.check_host(parts.hostname)
            async with (
                aiohttp.TCPConnector(resolver=resolver) as connector,
                aiohttp.ClientSession(connector=connector, timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(method, url, data=dict(form) or None, headers=headers, allow_redirects=False, ssl=encrypted) as response,
            ):
                content = await read_most(response.content, most)
                kind, status = response.content_type, response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
            raise TwimlFailed(f"{where} cannot be reached: {failure or type(failure).__name__}") from None
        if len(content) > most:
            raise TwimlFailed(f"{where} answers with more than {most} bytes")
        if status // 100 != 2:
            raise TwimlFailed(f"{where} answers {status}{': redirects are not followed' if status // 100 == 3 else ''}")
        return content, kind
