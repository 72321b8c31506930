"""Tells the caller how the line is: codec, loss, jitter, round trip, MOS, whether anything is heard at all, and an echo to listen to.

It says what it measured and nothing else. Key 1 measures again, 2 is the echo test, # ends the call. A route's argument: `listen_seconds`.
"""

import asyncio
from typing import Any

from ai_bridge.agent import Agent
from ai_bridge.agents.spoken import synthesize
from ai_bridge.arguments import Arguments, read
from ai_bridge.call import Call
from ai_bridge.frame import Frame
from ai_bridge.quality import Quality
from ai_bridge.speech import SpeechStream
from control_plane.formats import FORMATS

LISTEN_WITHOUT_MEDIA_S = 3.0
ECHO_S, ECHO_DELAY_MS = 10.0, 500
WAIT_S = 15.0
SILENT_DBOV = -65
"""Microphones that are on bring in more than this, even in a quiet room."""
FAIR_MOS, GOOD_MOS = 3.6, 4.0
HELLO = "This is the line check. Please speak for ten seconds."
ECHO = "Now speak, and you will hear yourself half a second later."
CHOICE = "Press 1 to measure again, 2 for the echo test, or hash to end."
GOODBYE = "Goodbye."


class Settings(Arguments, frozen=True):
    LIMITS = (("listen_seconds", 1, 60),)

    listen_seconds: float = 12.0
    """Reports of quality come every five seconds on average: two of them, as a rule."""


class Heard:
    """What came from the caller while we listened."""

    def __init__(self) -> None:
        self.frames = self.made_up = self.spoken = 0
        self.loudest_dbov = -127
        self.qualities: list[Quality] = []

    def add(self, frame: Frame) -> None:
        if frame.is_concealed or frame.is_comfort_noise:
            self.made_up += 1
            return
        self.frames += 1
        self.spoken += frame.is_speech
        self.loudest_dbov = max(self.loudest_dbov, frame.level_dbov)


def number(value: float, unit: str) -> str:
    """As a voice reads it well: no more digits than mean something."""
    text = f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"
    return f"{text} {unit}"


def report(heard: Heard, codec: str, rate_hz: int) -> list[str]:
    """Sentences, the most important first."""
    name = f"The codec is {codec}, at {rate_hz // 1000} kilohertz." if codec else f"Your audio comes at {rate_hz // 1000} kilohertz."
    if heard.frames == 0:
        return ["I hear nothing: no audio arrives from you. If you hear me, audio goes one way only. Look at firewalls and NAT.", name]
    sentences = []
    if heard.loudest_dbov < SILENT_DBOV:
        sentences.append("Your audio arrives, but it is silence. Is your microphone muted?")
    else:
        sentences.append(f"I hear you. Your loudest was {number(-heard.loudest_dbov, 'decibels')} below full scale.")
    sentences.append(name)
    if not heard.qualities:
        return [*sentences, "There was not enough time to measure the quality."]
    last = heard.qualities[-1]
    lost = max(quality.lost_percent for quality in heard.qualities)
    sentences.append(f"{number(lost, 'percent')} of your packets were lost, and the jitter is {number(last.jitter_ms, 'milliseconds')}.")
    if last.rtt_ms:
        sentences.append(f"The round trip takes {number(last.rtt_ms, 'milliseconds')}.")
    judgement = "That is a good line." if last.mos >= GOOD_MOS else "That is fair." if last.mos >= FAIR_MOS else "That is poor."
    return [*sentences, f"The opinion score is {last.mos:.1f} of 4.5. {judgement}"]


class Diagnose(Agent):
    interrupt_on_key = True

    def __init__(self) -> None:
        self._heard = Heard()
        self._echo: SpeechStream | None = None
        self._doing: asyncio.Task[Any] | None = None

    def on_start(self, call: Call) -> None:
        self._settings, _ = read(Settings, call.arguments)
        self._do(self._measure(HELLO))

    def _do(self, work: Any) -> None:
        if self._doing is not None:
            self._doing.cancel()
        self._stop_echo()
        self._doing = self.call.spawn(work)

    def on_audio(self, frame: Frame) -> None:
        self._heard.add(frame)
        if self._echo is not None:
            self._echo.write_nowait(frame.pcm)

    def on_quality(self, quality: Quality) -> None:
        self._heard.qualities.append(quality)

    def on_dtmf(self, key: str) -> None:
        if key == "1":
            self._do(self._measure("Please speak for ten seconds."))
        elif key == "2":
            self._do(self._echo_test())
        elif key == "#":
            self._do(self._end())

    async def _measure(self, words: str) -> None:
        await self._say(words)
        self._heard = heard = Heard()
        without_media_s = min(LISTEN_WITHOUT_MEDIA_S, self._settings.listen_seconds)
        await asyncio.sleep(without_media_s)
        if heard.frames:
            await asyncio.sleep(self._settings.listen_seconds - without_media_s)
        sentences = report(heard, self._codec(), self.call.line_rate_hz)
        values = {"loudest_dbov": float(heard.loudest_dbov), "frames": float(heard.frames), "made_up": float(heard.made_up)}
        values |= heard.qualities[-1]._asdict() if heard.qualities else {}
        self.call.note("diagnosis", " ".join(sentences), **values)
        await self._say(" ".join(sentences))
        await self._ask()

    def _codec(self) -> str:
        return self.call.start.format if self.call.start.format in FORMATS else ""

    async def _echo_test(self) -> None:
        await self._say(ECHO)
        call = self.call
        self._echo = call.stream()
        self._echo.write_nowait(bytes(2 * call.sample_rate_hz * ECHO_DELAY_MS // 1000))
        await asyncio.sleep(ECHO_S)
        self._stop_echo()
        await self._ask()

    def _stop_echo(self) -> None:
        if self._echo is not None:
            self._echo.end()
            self._echo = None

    async def _ask(self) -> None:
        await self._say(CHOICE)
        await asyncio.sleep(WAIT_S)
        await self._end()

    async def _end(self) -> None:
        await self._say(GOODBYE)
        self.call.hang_up("the line was checked")

    async def _say(self, text: str) -> None:
        pcm, rate_hz = await synthesize(text)
        self.call.note("said", text)
        await self.call.say(pcm, rate_hz)

    def on_end(self, cause: str) -> None:
        self._echo = None
