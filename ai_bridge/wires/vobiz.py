"""Vobiz streams: Plivo's dialect with differences.

PCM that the bot gets is big-endian, PCM that it plays is little-endian and may have 24 kHz; it may end the call with
`stop`, which drops what is queued.
"""

import urllib.parse
from collections.abc import Mapping, Sequence

from ai_bridge.wires.encoding import L16_BIG_ENDIAN, PCMU, Encoding
from ai_bridge.wires.plivo import NONCE_DIGITS, Plivo, decode, signature
from ai_bridge.wires.wire import Action, Finish, random_digits, read


class Vobiz(Plivo):
    provider = "Vobiz"
    offered: Sequence[tuple[str, int]] = (("L16", 8_000), ("L16", 16_000), ("PCMU", 8_000))
    encodings: Mapping[str, Encoding] = {"PCMU": PCMU, "L16": L16_BIG_ENDIAN}
    playable: Sequence[tuple[str, int]] = (*offered, ("L16", 24_000))

    def headers(self) -> dict[str, str]:
        """Versions 2 and 3: HMAC-SHA256 over the URL without its query, and a nonce."""
        secret = self.about.options.signing_secret()
        if not secret:
            return {}
        base = urllib.parse.urlunsplit(urllib.parse.urlsplit(self.about.url)._replace(query=""))
        nonce = random_digits(NONCE_DIGITS)
        return {
            "X-Vobiz-Signature-V2": signature(secret, f"{base}{nonce}"),
            "X-Vobiz-Signature-V2-Nonce": nonce,
            "X-Vobiz-Signature-V3": signature(secret, f"{base}.{nonce}"),
            "X-Vobiz-Signature-V3-Nonce": nonce,
        }

    def receive_text(self, message: bytes) -> Sequence[Action]:
        if read(decode, message, "Vobiz streams").event == "stop":
            return (Finish("the bot has stopped the stream", at_once=True),)
        return super().receive_text(message)
