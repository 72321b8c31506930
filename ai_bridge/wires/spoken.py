"""What a bot on our own wire said in one turn and how much of it was heard, and what its caller's audio was made of."""

from ai_bridge.call import Call
from ai_bridge.frame import Frame
from ai_bridge.speech import SpeechStream
from ai_bridge.wires.bellframe_messages import Quality

SILENT_DBOV = -127.0


class Spoken:
    """Of one turn, in milliseconds of what the bot sent: keys, and silence that filled up a frame, do not count."""

    def __init__(self, call: Call) -> None:
        """From the call's present turn on. What somebody else has said in it before counts as said."""
        self.turn = call.turn
        self._call = call
        self._before = call.speech.said
        self._mark = call.mark() if self._before else None
        self.said_ms = self._before * 1000 / call.line_rate_hz
        self._streams: list[SpeechStream] = []
        self._heard_samples = 0  # of streams that are done

    def add(self, stream: SpeechStream, ms: float) -> None:
        """So much was written to the stream."""
        self.said_ms += ms
        if self._streams and self._streams[-1] is stream:
            return
        while self._streams and self._streams[0].is_done:
            self._heard_samples += self._streams.pop(0).heard_samples
        self._streams.append(stream)

    @property
    def heard_ms(self) -> float:
        samples = self._heard_samples + sum(stream.heard_samples for stream in self._streams)
        if self._mark is not None:
            samples += min(self._before, self._mark.played if self._mark.is_done else self._call.speech.played_of(self.turn))
        return samples * 1000 / self._call.line_rate_hz

    async def settled(self) -> None:
        """Until it is known what was heard: the turn is over."""
        for stream in self._streams:
            await stream
        if self._mark is not None:
            await self._mark


class QualityCounts:
    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.frames = self.concealed = self.lost = self.comfort_noise = self.speech = self.level = self.position = 0

    def count(self, frame: Frame, position: int) -> None:
        self.position = position
        self.frames += 1
        self.lost += frame.lost
        self.concealed += frame.is_concealed
        self.comfort_noise += frame.is_comfort_noise
        if frame.is_speech:
            self.speech += 1
            self.level += frame.level_dbov

    def take(self) -> Quality:
        """What was counted since it was taken last."""
        level_dbov = round(self.level / self.speech, 1) if self.speech else SILENT_DBOV
        quality = Quality(self.position, self.frames, self.concealed, self.lost, self.comfort_noise, level_dbov)
        self._clear()
        return quality
