"""WAV files, as they come from elsewhere and as they are kept: PCM of 16 bits, and G.711, which telephones have."""

import io
import struct
import wave

import numpy as np

from ai_bridge.frame import Pcm
from ai_bridge.twiml.web import TwimlFailed
from ai_bridge.wires.encoding import PCMA, PCMU

PCM, ALAW, ULAW = 1, 6, 7
RATES_HZ = range(8_000, 48_001)
HEADER = struct.Struct("<HHIIHH")


def decode_wav(content: bytes) -> tuple[Pcm, int]:
    """Samples of one channel, and their rate. Raises TwimlFailed."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise TwimlFailed("it is not a WAV file: MP3 and the like are not played here")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        chunks.setdefault(name, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    if len(chunks.get(b"fmt ", b"")) < HEADER.size or b"data" not in chunks:
        raise TwimlFailed("the WAV file has no format, or no samples")
    kind, channels, rate_hz, _, _, bits = HEADER.unpack_from(chunks[b"fmt "])
    encoding = {(ALAW, 8): PCMA, (ULAW, 8): PCMU}.get((kind, bits))
    if (encoding is None and (kind, bits) != (PCM, 16)) or channels not in (1, 2) or rate_hz not in RATES_HZ:
        there = f"format {kind} with {bits} bits, {channels} channels and {rate_hz} Hz"
        raise TwimlFailed(f"the WAV file has {there}: give 16-bit PCM or G.711")
    data = chunks[b"data"]
    pcm = encoding.decode(data) if encoding else np.frombuffer(data[: len(data) // 2 * 2], "<i2")
    if channels == 2:
        pcm = pcm[: pcm.size // 2 * 2].reshape(-1, 2).mean(axis=1).astype(np.int16)
    return pcm, rate_hz


def encode_wav(pcm: Pcm, rate_hz: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, rate_hz, 0, "NONE", ""))
        made.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def beep(rate_hz: int) -> Pcm:
    """Half a second of 1,000 Hz."""
    return np.asarray(8_000 * np.sin(2 * np.pi * 1_000 * np.arange(rate_hz // 2) / rate_hz), np.int16)
