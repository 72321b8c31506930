"""The buffer between legs: sample by sample as its slow twin, and what people would hear."""

import numpy as np
import numpy.typing as npt
import pytest

from media_workers import playout_buffer
from media_workers.playout_buffer import LEAST_LEAD_MS, MARGIN_MS, MOST_MS, MOST_START_MS, PLAYOUT_BUFFER, sample_at, start_lead
from tests.media_workers.call_under_test import MS, START
from tests.reference.playout_buffer import PlayoutBuffer as Twin

Pcm = npt.NDArray[np.int16]


class Leg:
    """A far end whose frames come when the test says, and a listener with a clock."""

    def __init__(self, rate_hz: int = 8_000, lead_ms: int = LEAST_LEAD_MS) -> None:
        self.rate_hz, self.lead = rate_hz, lead_ms * rate_hz // 1000
        self.buffer = np.zeros(1, PLAYOUT_BUFFER)[0]
        self.past = np.zeros(960, np.int16)
        self.changed = 0

    def put(self, frame: Pcm, at_ns: int, is_noise: bool = False) -> int:
        changed = int(playout_buffer.put(self.buffer, frame, is_noise, self.lead, at_ns, self.rate_hz, self.past))
        self.changed += changed
        return changed

    def hear(self, at_ns: int, ms: int = 20) -> Pcm:
        end, pcm = int(sample_at(at_ns, self.rate_hz)), np.zeros(2880, np.int16)
        playout_buffer.cover(self.buffer, end, self.rate_hz, self.past)
        count = ms * self.rate_hz // 1000
        playout_buffer.fetch(self.buffer, end - count, count, self.rate_hz, pcm)
        return pcm[:count].copy()

    def lead_ms(self, at_ns: int) -> float:
        return float((self.buffer["written"] - sample_at(at_ns, self.rate_hz)) * 1000 / self.rate_hz)


def sine(frames: int, rate_hz: int = 8_000, pitch_hz: float = 200.0) -> list[Pcm]:
    """In frames of 20 ms."""
    samples = rate_hz // 50
    pcm = (8_000 * np.sin(2 * np.pi * pitch_hz * np.arange(frames * samples) / rate_hz)).astype(np.int16)
    return [pcm[i * samples : (i + 1) * samples] for i in range(frames)]


def talk(leg: Leg, frames: list[Pcm], late_ms: "list[int] | None" = None, drift: float = 0.0) -> Pcm:
    """What a listener hears, 7 ms off the speaker's phase, while these come every 20 ms, each so late."""
    due = [START + round((20 * i * (1 + drift) + (late_ms[i] if late_ms else 0)) * MS) for i in range(len(frames))]
    heard, tick = [], START + 7 * MS
    for at_ns, frame in zip(np.maximum.accumulate(due).tolist(), frames, strict=True):  # in order, as the jitter buffer gives them
        while tick < at_ns:
            heard.append(leg.hear(tick))
            tick += 20 * MS
        leg.put(frame, at_ns)
    return np.concatenate(heard)


def largest_step(pcm: Pcm) -> int:
    return int(np.abs(np.diff(pcm.astype(int))).max())


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_its_slow_twin_sample_by_sample(rate_hz: int, seed: int) -> None:
    random, leg, twin = np.random.default_rng(seed), Leg(rate_hz), Twin(rate_hz)
    voice = sine(400, rate_hz, 110 + 20 * seed)
    clock, due = START, [(START + int(20 * i + random.exponential(4 + 12 * seed)) * MS, i) for i in range(400)]
    due = [one for one in sorted(due) if not 150 < one[1] < 160 + 4 * seed]  # a while of nothing
    for at_ns, i in due:
        while clock < at_ns:
            clock += int(random.choice([10, 20, 20, 30])) * MS
            end = int(sample_at(clock, rate_hz))
            count = rate_hz // 50
            heard = leg.hear(clock)
            twin.cover(end)
            assert heard.tolist() == twin.fetch(end - count, count), f"at {(clock - START) / MS} ms"
        is_noise = i % 40 > 35
        leg.put(voice[i], at_ns, is_noise)
        twin.put(voice[i].tolist(), is_noise, leg.lead, at_ns)
        assert (leg.buffer["written"], leg.buffer["least"]) == (twin.written, twin.least)


def test_without_jitter_every_sample_comes_through_as_it_was_and_20_ms_later() -> None:
    leg, frames = Leg(), sine(90)
    heard = talk(leg, frames)
    whole = np.concatenate(frames)
    delay = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(whole)[0])
    assert delay == (LEAST_LEAD_MS + 20 - 7) * 8 and leg.changed == 0
    assert (heard[delay:] == whole[: heard.size - delay]).all()


def test_a_late_packet_is_waited_for_in_step_and_the_next_one_finds_the_time_it_needs() -> None:
    leg = Leg()
    frames, late = sine(100), [0] * 100
    late[40], late[60] = 55, 55
    heard = talk(leg, frames, late)
    speaking = heard[500:-400]
    assert largest_step(speaking) < 3_000, "a sine of 200 Hz has steps of 1,250: nothing is cut in mid-wave"
    assert np.abs(speaking[:14_880].reshape(-1, 40)).max(axis=1).min() > 5_000, "and nothing falls silent"
    assert 0 < leg.changed <= (55 - LEAST_LEAD_MS + 20 + 15) * 8
    once = leg.changed
    assert leg.lead_ms(START + 99 * 20 * MS) - 20 >= 55 - 20
    assert leg.changed == once, "the second one came in time"


def test_a_lead_that_is_not_needed_is_taken_back_without_a_click() -> None:
    leg = Leg(lead_ms=80)
    heard = talk(leg, sine(500))
    assert MARGIN_MS <= leg.lead_ms(START + 499 * 20 * MS) - 20 < MARGIN_MS + 6 and leg.changed < -60 * 8
    assert largest_step(heard[1_000:]) < 1_700
    assert np.abs(heard[1_000:79_000].reshape(-1, 80)).max(axis=1).min() > 7_000


def test_noise_without_a_pitch_is_not_shortened_until_the_delay_is_long() -> None:
    random, leg = np.random.default_rng(7), Leg(lead_ms=60)
    talk(leg, [random.integers(-8_000, 8_000, 160).astype(np.int16) for _ in range(300)])
    assert leg.changed == 0
    slow = Leg(lead_ms=120)
    talk(slow, [random.integers(-8_000, 8_000, 160).astype(np.int16) for _ in range(300)])
    assert slow.changed < 0 and 80 <= slow.lead_ms(START + 299 * 20 * MS) - 20 + MARGIN_MS < 100


@pytest.mark.compiled
@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_a_clock_that_drifts_is_followed_for_an_hour(drift: float) -> None:
    """Ten times as fast for six minutes: it goes by the frame, not by the clock."""
    leg, frames = Leg(), sine(50)
    heard = talk(leg, frames * 360, drift=10 * drift)
    assert -20 <= leg.lead_ms(START + round(360 * 50 * 20 * (1 + 10 * drift) * MS)) <= MARGIN_MS + 30
    assert np.sign(leg.changed) == np.sign(drift) and abs(leg.changed) > 1_000 * 8, "a second and more of it"
    assert np.abs(heard[1_000:2_801_000].reshape(-1, 80)).max(axis=1).min() > 5_000


def test_the_delay_is_bounded_whatever_comes() -> None:
    leg = Leg()
    for i, frame in enumerate(sine(200)):
        leg.put(frame, START + i // 10 * MS)
        assert leg.lead_ms(START + i // 10 * MS) <= MOST_MS + 20
    assert leg.changed <= -180 * 160 + 160


def test_after_a_pause_it_begins_anew_with_the_lead_that_its_jitter_asks_for() -> None:
    leg = Leg()
    frames = sine(10)
    for i, frame in enumerate(frames):
        leg.put(frame, START + 20 * i * MS)
        leg.hear(START + 20 * i * MS)
    for i in range(10, 40):
        last = leg.hear(START + 20 * i * MS)
    assert not last.any() and not leg.buffer["is_live"]
    leg.lead = int(start_lead(10 * MS, 8_000))
    assert leg.lead == 30 * 8 and start_lead(0, 8_000) == LEAST_LEAD_MS * 8 and start_lead(10**12, 8_000) == MOST_START_MS * 8
    leg.put(frames[0], START + 800 * MS)
    assert leg.lead_ms(START + 800 * MS) == 50
    assert not leg.hear(START + 830 * MS, 30).any() and (leg.hear(START + 850 * MS) == frames[0]).all()


def test_comfort_noise_that_is_ahead_is_left_out() -> None:
    leg, noise = Leg(), np.ones(160, np.int16)
    for _ in range(12):
        leg.put(noise, START, is_noise=True)
    assert leg.lead_ms(START) <= LEAST_LEAD_MS + 20


def test_two_listeners_of_any_phase_and_ptime_hear_the_same() -> None:
    leg, frames = Leg(), sine(60)
    one: dict[int, int] = {}
    for i, frame in enumerate(frames):
        now = START + 20 * i * MS
        leg.put(frame, now)
        for offset, ms in ((3, 10), (13, 10), (11, 20), (17, 20)) + (((19, 60),) if i % 3 == 2 else ()):
            end = int(sample_at(now + offset * MS, 8_000))
            for n, value in enumerate(leg.hear(now + offset * MS, ms).tolist()):
                assert one.setdefault(end - ms * 8 + n, value) == value
    assert len(one) > 50 * 160


def test_what_was_there_before_is_never_heard() -> None:
    leg = Leg()
    leg.buffer["pcm"] = 9_999
    leg.put(np.ones(160, np.int16), START)
    assert set(leg.hear(START + 20 * MS, 60).tolist()) <= {0, 1}
