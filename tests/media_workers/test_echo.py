import numpy as np
import pytest

from control_plane import g711
from media_workers import echo
from media_workers.echo import GRACE_FRAMES, MARGIN_MS, MAX_FFT, SENT_SAMPLES
from shm.jit import IS_COMPILED
from shm.layout import ECHO_FLAG, ECHO_GUARD, SPEECH_FLAG
from tests.media_workers.call_under_test import MS, CallUnderTest, loud, ulaw
from tests.reference.echo import Guard

FRAME_NS = 20 * MS
BEGIN_NS = 5_000_000 * MS


def talk(seconds: float, seed: int, level_dbov: float = -23.0, rate_hz: int = 8_000) -> np.ndarray:
    """What sounds like syllables: noise with the colour of a vowel, four times a second louder and softer. int16."""
    random = np.random.default_rng(seed)
    samples = int(seconds * rate_hz)
    noise = random.standard_normal(samples)
    for _ in range(2):
        noise = np.convolve(noise, np.ones(4) / 4)[:samples]
    loudness = (1 + 0.5 * random.standard_normal(samples // rate_hz * 4 + 8)).repeat(rate_hz // 4)[:samples]
    syllables = np.abs(np.sin(np.pi * 4 * np.arange(samples) / rate_hz + seed)) * loudness
    speech = noise * syllables
    return np.clip(speech * 32_768 * 10 ** (level_dbov / 20) / np.sqrt((speech**2).mean()), -32_768, 32_767).astype(np.int16)


def returned(sent: np.ndarray, delay_ms: int, loss_db: float, rate_hz: int = 8_000) -> np.ndarray:
    """As a speakerphone on a desk sends it back: late, softer, with 40 ms of room. int16."""
    random = np.random.default_rng(delay_ms)
    taps = rate_hz * 40 // 1000
    room = random.standard_normal(taps) * np.exp(-np.arange(taps) / (0.01 * rate_hz))
    path = np.concatenate((np.zeros(delay_ms * rate_hz // 1000), room / np.sqrt((room**2).sum()) * 10 ** (-loss_db / 20)))
    return np.round(np.convolve(sent.astype(float), path)[: sent.size] + random.normal(0, 10, sent.size)).astype(np.int16)


class Line:
    """An agent that says `sent` while `came` arrives, frame by frame."""

    def __init__(self, rate_hz: int = 8_000) -> None:
        self.echo, self.rate_hz, self.samples = echo.make(1), rate_hz, rate_hz // 50
        self.frame = 0

    def hear(self, sent: np.ndarray, came: np.ndarray) -> tuple[np.ndarray, list[bool]]:
        left, is_echo = [], []
        for at in range(0, sent.size - self.samples + 1, self.samples):
            due_ns = BEGIN_NS + self.frame * FRAME_NS
            echo.remember(self.echo, 0, sent[at : at + self.samples], self.samples, due_ns, self.rate_hz)
            frame = came[at : at + self.samples].copy()
            is_echo.append(bool(echo.guard(self.echo, 0, frame, self.rate_hz, self.frame * self.samples, due_ns + FRAME_NS)))
            left.append(frame)
            self.frame += 1
        return np.concatenate(left), is_echo


@pytest.mark.parametrize("n", [512, MAX_FFT])
@pytest.mark.parametrize("is_inverse", [False, True])
def test_the_transform_is_numpys(n: int, is_inverse: bool) -> None:
    random = np.random.default_rng(n)
    values = (random.standard_normal(MAX_FFT) + 1j * random.standard_normal(MAX_FFT)).astype(np.complex64)
    expected = np.fft.ifft(values[:n]) * n if is_inverse else np.fft.fft(values[:n])
    rest = values[n:].copy()
    echo.transform(values, n, is_inverse)
    assert np.allclose(values[:n], expected, atol=1e-3) and np.array_equal(values[n:], rest)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_agrees_with_the_reference(rate_hz: int) -> None:
    frames, samples = 120 if IS_COMPILED else 6, rate_hz // 50
    sent = talk(3, 1, rate_hz=rate_hz)
    came = returned(sent, 45, 10, rate_hz)
    came[80 * samples : 95 * samples] += talk(1, 2, rate_hz=rate_hz)[: 15 * samples] // 2
    line, reference = Line(rate_hz), Guard(rate_hz)
    line.hear(sent[:samples], came[:samples])
    for n in range(1, frames):
        before, part = (slice(k * samples, (k + 1) * samples) for k in (n - 1, n))
        left, is_echo = line.hear(sent[part], came[part])
        expected, expected_echo = reference.take(sent[before] / 32_768, came[part] / 32_768)
        assert np.abs(left - expected * 32_768).max() < 3 and is_echo == [expected_echo], n


@pytest.mark.compiled
@pytest.mark.parametrize(("delay_ms", "loss_db"), [(20, 6), (100, 12), (200, 6), (200, 20)])
def test_an_echo_is_taken_out_and_never_taken_for_the_caller(delay_ms: int, loss_db: float) -> None:
    sent = talk(12, 3)
    came = returned(sent, delay_ms, loss_db)
    left, is_echo = Line().hear(sent, came)
    late = slice(6 * 8_000, None)
    erle_db = 10 * np.log10((came[late].astype(float) ** 2).sum() / (left[late].astype(float) ** 2).sum())
    heard = np.abs(left.reshape(-1, 160)).max(axis=1) > 300
    assert erle_db > 10
    assert not (heard & ~np.array(is_echo)).any(), "what is loud enough to be taken for a voice is known to be none"


@pytest.mark.compiled
def test_the_caller_who_speaks_over_it_is_heard_at_once_and_whole() -> None:
    sent, caller = talk(14, 3), talk(1, 9, -23)
    came = returned(sent, 80, 8)
    came[10 * 8_000 : 11 * 8_000] += caller
    left, is_echo = Line().hear(sent, came)
    spoken = slice(500, 550)
    assert is_echo[spoken][:8].count(False) >= 4, "within 160 ms"
    error = left[10 * 8_000 : 11 * 8_000].astype(float) - caller
    assert 10 * np.log10((caller.astype(float) ** 2).sum() / (error**2).sum()) > 10, "what is left is the caller"
    assert is_echo[560:].count(False) <= 5, "and it is an echo again once he is silent"


@pytest.mark.compiled
def test_on_a_line_without_echo_nothing_is_changed_and_everybody_is_heard() -> None:
    caller = talk(8, 5)
    left, is_echo = Line().hear(talk(8, 4), caller)
    assert is_echo[2 * GRACE_FRAMES :].count(True) < 20
    assert ((left - caller).astype(float) ** 2).sum() < 0.05 * (caller.astype(float) ** 2).sum()


def test_while_the_agent_is_silent_nothing_is_touched() -> None:
    line, caller = Line(), talk(1, 5)
    left, is_echo = line.hear(np.zeros(8_000, np.int16), caller)
    assert np.array_equal(left, caller) and not any(is_echo) and line.echo.states[0]["frames"] == 50


def test_other_rates_are_left_alone() -> None:
    frame = talk(1, 1)[:960].copy()
    before = frame.copy()
    assert not echo.guard(echo.make(1), 0, frame, 48_000, 0, BEGIN_NS) and np.array_equal(frame, before)


def test_what_was_not_sent_was_silence_and_the_memory_goes_round() -> None:
    memory = echo.make(1)
    ones = np.ones(160, np.int16)
    for n in (0, 1, 4):
        echo.remember(memory, 0, ones, 160, BEGIN_NS + n * FRAME_NS, 8_000)
    begin = int(echo.position_at(BEGIN_NS, 8_000))
    at = np.arange(begin, begin + 5 * 160) % SENT_SAMPLES
    assert memory.sent[0][at].reshape(5, 160).mean(axis=1).tolist() == [1, 1, 0, 0, 1]
    echo.remember(memory, 0, ones, 160, BEGIN_NS + 1_000 * FRAME_NS, 8_000)
    assert memory.sent[0].sum() == 160


def test_the_clocks_are_followed_and_a_hole_is_begun_behind() -> None:
    line = Line()
    line.hear(np.zeros(160 * 3, np.int16), np.zeros(160 * 3, np.int16))
    state = line.echo.states[0]
    align = int(state["align"])
    echo.guard(line.echo, 0, np.zeros(160, np.int16), 8_000, 3 * 160, BEGIN_NS + 4 * FRAME_NS + 30 * MS)
    assert state["align"] == align, "a frame that was late says nothing"
    echo.guard(line.echo, 0, np.zeros(160, np.int16), 8_000, 4 * 160, BEGIN_NS + 5 * FRAME_NS - 5 * MS)
    assert state["align"] == align, "nor does one that was a little faster: the filter would have to learn anew"
    echo.guard(line.echo, 0, np.zeros(160, np.int16), 8_000, 5 * 160, BEGIN_NS + 6 * FRAME_NS - 25 * MS)
    assert state["align"] == align - 25 * 8, "one that came before what it was held against does"
    assert state["learnt"] == 0, "and the way that was learnt is another now"
    echo.guard(line.echo, 0, np.zeros(160, np.int16), 8_000, 99 * 160, BEGIN_NS + 6 * FRAME_NS)
    here = int(echo.position_at(BEGIN_NS + 6 * FRAME_NS, 8_000))
    assert state["expected"] == 100 * 160 and state["align"] == here - 100 * 160 - MARGIN_MS * 8


@pytest.mark.compiled
@pytest.mark.parametrize("missing", [1, 7, 40])
def test_behind_frames_that_were_lost_the_way_is_still_known(missing: int) -> None:
    """And the first one that comes is late."""
    line, sent = Line(), talk(13, 3)
    came = returned(sent, 120, 6)
    line.hear(sent[: 400 * 160], came[: 400 * 160])
    for n in range(400, 400 + missing):
        echo.remember(line.echo, 0, sent[n * 160 : (n + 1) * 160], 160, BEGIN_NS + n * FRAME_NS, 8_000)
    first = line.frame = 400 + missing
    before, frame = int(line.echo.states[0]["align"]), came[first * 160 : (first + 1) * 160].copy()
    echo.remember(line.echo, 0, sent[first * 160 : (first + 1) * 160], 160, BEGIN_NS + first * FRAME_NS, 8_000)
    assert echo.guard(line.echo, 0, frame, 8_000, first * 160, BEGIN_NS + (first + 1) * FRAME_NS + 90 * MS)
    assert line.echo.states[0]["align"] == before
    line.frame += 1
    left, is_echo = line.hear(sent[line.frame * 160 :], came[line.frame * 160 :])
    heard = np.abs(left[: left.size // 160 * 160].reshape(-1, 160)).max(axis=1) > 300
    assert not (heard & ~np.array(is_echo)).any()


@pytest.mark.compiled
def test_frames_that_come_unevenly_are_as_good() -> None:
    """A network that is late with every frame, by 0 to 20 ms and most with the first."""
    line, sent, late_ms = Line(), talk(12, 3), np.random.default_rng(4).uniform(0, 15, 600)
    came, late_ms[0] = returned(sent, 120, 6), 18
    heard, is_echo = [], []
    for n, ms in enumerate(late_ms):
        echo.remember(line.echo, 0, sent[n * 160 : (n + 1) * 160], 160, BEGIN_NS + n * FRAME_NS, 8_000)
        frame = came[n * 160 : (n + 1) * 160].copy()
        is_echo.append(bool(echo.guard(line.echo, 0, frame, 8_000, n * 160, BEGIN_NS + (n + 1) * FRAME_NS + int(ms * MS))))
        heard.append(np.abs(frame).max() > 300)
    assert not (np.array(heard) & ~np.array(is_echo)).any()


@pytest.mark.parametrize("is_on", [False, True])
def test_the_worker_guards_a_call_whose_agent_asks_for_it(is_on: bool) -> None:
    """What goes out comes back 60 ms later, 10 dB softer."""
    call = CallUnderTest()
    call.worker.rings.words[call.row, ECHO_GUARD] = int(is_on)
    speech, frames = talk(3, 7, -18), 90 if IS_COMPILED else 8
    back: list[bytes] = [ulaw(0)] * 3
    flags = []
    for n in range(frames):
        call.say(speech[n * 160 : (n + 1) * 160])
        packet = call.next_packet()
        heard = g711.decode(0, packet.payload)
        back.append(g711.encode(0, (heard * 0.3).astype(np.int16)))
        call.now_ns += 5 * MS
        call.receive(n, n * 160, back[n])
        flags += [frame.flags for frame in call.frames()]
    assert any(flag & SPEECH_FLAG for flag in flags) is not is_on
    assert any(flag & ECHO_FLAG for flag in flags) is is_on


def test_the_next_call_of_a_row_begins_anew() -> None:
    call = CallUnderTest()
    call.worker.rings.words[call.row, ECHO_GUARD] = 1
    call.say(loud(320))
    call.next_packet()
    call.receive(0, 0)
    assert call.worker.echo.states[call.row]["rate_hz"] == 8_000
    echo.forget(call.worker.echo, call.row)
    assert call.worker.echo.states[call.row] == np.zeros((), echo.STATE)
