"""Answers over HTTP, read to their end and not beyond what they may have."""

import aiohttp


async def read_most(content: aiohttp.StreamReader, most: int) -> bytes:
    """All of it, or of one that is longer a few octets more than `most`: `StreamReader.read` would give what has come by now."""
    parts = bytearray()
    async for part in content.iter_chunked(65_536):
        parts += part
        if len(parts) > most:
            break
    return bytes(parts)
