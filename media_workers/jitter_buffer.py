"""Order. An agent has no ears to please, so a packet that comes in sequence is in the ring at once.

Only a gap waits: what came early is held until the missing one comes, or until a deadline learnt from how late
the stream's stragglers have been. Then the gap is concealed, flagged and counted, and the stream goes on.
Time in the agent's timeline follows the RTP timestamps: what the far end did not send (silence suppression, a
key press) is filled with comfort noise of the same length. While nothing comes at all the noise comes on the clock,
a little behind what the timestamps will say: an agent notices the end of speech by the silence that it gets.

Sequence numbers are extended (RFC 3550 A.1, as RFC 3711's packet index): the one nearest to what is expected.
"""

import numpy as np

from media_workers import codecs, concealment, dtmf_tone, echo, rooms, telephone_event, voice_activity
from media_workers.codecs import opus
from media_workers.comfort_noise import GAINS, NOISE, NOISE_STARTS, NOISE_STEP
from media_workers.rtp import MAX_PAYLOAD_BYTES
from shm import ring
from shm.atomics import load_acquire
from shm.copying import copy
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit
from shm.layout import (
    AUDIO,
    COMFORT_NOISE_FLAG,
    CONCEALED_FLAG,
    DISCONTINUITY_FLAG,
    DTMF,
    ECHO_FLAG,
    ECHO_GUARD,
    LINE,
    SPEECH_FLAG,
    VOICED_FLAG,
)

SLOTS = 16
"""Packets held beyond a gap: 320 ms at 20 ms a packet, more than any reordering that is worth waiting for."""
RESTART_STEP = 3000  # RFC 3550 A.1 MAX_DROPOUT: a greater jump is a new beginning
MISORDER_STEP = 100  # RFC 3550 A.1 MAX_MISORDER: so is a jump back that no reordering explains
MIN_HOLD_NS, MAX_HOLD_NS = 10_000_000, 80_000_000
STRAGGLER_WINDOW = 62  # packets before the next one of which it is known whether they came
STRAGGLER_FADE = 512  # a straggler's lateness is forgotten by this part of itself with every packet
MAX_CONCEALED_MS = 60  # beyond it, comfort noise: see concealment.FADE_MS
MAX_FILL_MS = 1000  # a longer pause moves the position and is flagged instead
SILENT_NS, SILENT_AFTER_NOISE_NS = 300_000_000, 100_000_000
"""Nothing came for so long: the far end is silent, and not late. It is believed sooner once it has said so (RFC 3389)."""
FRAME_NS = 20_000_000
OTHER_SSRC_SILENT_NS = 60_000_000  # a new SSRC is believed at once when the old one has been silent for three packets
NO_SSRC = -1

RX_STREAM = np.dtype(
    [
        ("ssrc", "i8"),
        ("other_ssrc", "i8"),  # one packet of another stream came; two in sequence replace ours
        ("other_seq", "i8"),
        ("expected", "i8"),  # extended sequence number of the next packet in order
        ("expected_timestamp", "i8"),  # of its first sample, if nothing is missing
        ("position", "i8"),  # samples of the caller's timeline that went to the agent
        ("partial_samples", "i8"),  # waiting in `partial`
        ("partial_timestamp", "i8"),
        ("partial_flags", "i8"),
        ("held", "i8"),  # packets waiting in `held`
        ("held_index", "i8", SLOTS),  # which packet each slot holds, 0: none; here, so that unused slots stay untouched
        ("held_ns", "i8", SLOTS),  # when each came
        ("gap_since_ns", "i8"),  # when the first packet beyond the gap came; 0: there is none
        ("gap_deadline_ns", "i8"),
        ("straggler_ns", "i8"),  # how late stragglers are, learnt
        ("after_loss", "i8"),  # what is missing before the next packet was lost, not left out
        ("given_up", "i8"),  # bit d: the packet d + 1 before `expected` was concealed, and may still come, late
        ("arrival_ns", "i8"),
        ("transit_ticks", "i8"),
        ("jitter_x16", "i8"),  # RFC 3550 A.8, in sixteenths of a clock tick
        ("is_started", "i8"),
        ("fill_at_ns", "i8"),  # if nothing comes until then, it is filled
        ("noise_gain", "i8"),  # of the far end's comfort noise; 0: it has described none
        # For reports, RFC 3550 A.3:
        ("first", "i8"),  # extended sequence numbers
        ("highest", "i8"),
        ("received", "i8"),  # packets of this stream, also those that came twice
        ("expected_prior", "i8"),  # as of the last report
        ("received_prior", "i8"),
    ]
)
HELD_PACKET = np.dtype(
    [("timestamp", "i8"), ("payload_type", "i8"), ("size", "i8"), ("payload", "u1", MAX_PAYLOAD_BYTES)]
)
HELD_AT = 2048  # a held packet is put behind the datagram that is being taken
AT_HAND = np.dtype([("start", "i8"), ("size", "i8"), ("payload_type", "i8"), ("timestamp", "i8")])
"""The packet in `own["packet"]`: where its payload is, and what it says."""

LOST, REORDERED, DUPLICATES, LATE = (CALL_COLUMN[n] for n in ("lost", "reordered", "duplicates", "late"))
CONCEALED, CALL_FRAMES, UNKNOWN_PAYLOAD = (CALL_COLUMN[n] for n in ("concealed_frames", "frames_to_ai", "unknown_payload"))
RECOVERED = CALL_COLUMN["recovered_frames"]
JITTER_US, LEVEL_RX = (CALL_COLUMN[n] for n in ("jitter_us", "level_rx_dbov"))
KEYS, KEYS_DROPPED = (CALL_COLUMN[n] for n in ("keys_received", "keys_dropped"))
FRAMES_TO_AI, WORKER_UNKNOWN_PAYLOAD = WORKER["frames_to_ai"], WORKER["unknown_payload"]


@njit
def packet_index(expected, seq):
    """The extended sequence number ending in `seq` that lies nearest to `expected` (RFC 3711 3.3.1)."""
    return expected - 0x8000 + ((seq - expected + 0x8000) & 0xFFFF)


@njit
def timestamp_step(newer, older):
    """Signed distance of two RTP timestamps, across the wrap."""
    return ((newer - older + 0x80000000) & 0xFFFFFFFF) - 0x80000000


@njit
def _ticks(call, samples):
    """How many ticks of the RTP clock samples of the call's rate are."""
    return samples * call["rtp_clock_hz"] // call["sample_rate_hz"]


@njit
def insert(worker, row, start, size, payload_type, seq, timestamp, ssrc, now_ns):
    """Take the RTP packet in `own["packet"]`: hand on what is in order now, hold what came early."""
    rx = worker.calls[row]["rx"]
    step = packet_index(rx["expected"], seq) - rx["expected"]
    if rx["is_started"] == 0 or ssrc != rx["ssrc"] or step >= RESTART_STEP or step <= -MISORDER_STEP:
        if not _is_new_stream(rx, seq, ssrc, now_ns):
            return
        _restart(worker, row, seq, timestamp, ssrc)
        step = 0
    _measure_jitter(worker, row, timestamp, now_ns)
    rx["fill_at_ns"] = now_ns + SILENT_NS
    rx["received"] += 1
    rx["highest"] = max(rx["highest"], rx["expected"] + step)
    if step < 0:
        _take_straggler(worker, row, -step)
        return
    index = rx["expected"] + step
    if step >= SLOTS:
        _drain(worker, row, False, index - SLOTS + 1, now_ns)  # more is missing than is ever waited for
    _put_at_hand(worker, start, size, payload_type, timestamp)
    if step > 0 and not _hold(worker, row, index, now_ns):
        return
    if step == 0 and rx["gap_since_ns"] != 0:
        rx["straggler_ns"] = max(rx["straggler_ns"], min(now_ns - rx["gap_since_ns"], MAX_HOLD_NS))
        worker.shown[row]["counters"][REORDERED] += 1
    _drain(worker, row, step == 0, 0, now_ns)


@njit
def expire(worker, row, now_ns):
    """Give up a gap whose deadline has passed."""
    call = worker.calls[row]
    rx = call["rx"]
    while rx["gap_since_ns"] != 0 and now_ns >= rx["gap_deadline_ns"]:
        first = rx["expected"]
        while first < rx["expected"] + SLOTS and rx["held_index"][first & (SLOTS - 1)] != first:
            first += 1
        _drain(worker, row, False, first, now_ns)


@njit
def _is_new_stream(rx, seq, ssrc, now_ns):
    """RFC 3550 A.1: a stream begins at once if there was none; another needs two packets in sequence."""
    if rx["is_started"] == 0 or (ssrc != rx["ssrc"] and now_ns - rx["arrival_ns"] > OTHER_SSRC_SILENT_NS):
        return True
    is_second = rx["other_ssrc"] == ssrc and seq == (rx["other_seq"] + 1) & 0xFFFF
    rx["other_ssrc"] = ssrc
    rx["other_seq"] = seq
    return is_second


@njit
def _restart(worker, row, seq, timestamp, ssrc):
    """Begin a stream at this packet. The agent's timeline goes on; that it was broken is flagged."""
    rx = worker.calls[row]["rx"]
    rx["partial_flags"] = DISCONTINUITY_FLAG if rx["is_started"] != 0 else 0
    rx["is_started"] = 1
    rx["ssrc"] = ssrc
    rx["other_ssrc"] = NO_SSRC
    rx["expected"] = seq + 0x10000  # so that a packet from just before is not below zero
    rx["first"] = rx["highest"] = rx["expected"]
    rx["received"] = rx["expected_prior"] = rx["received_prior"] = 0
    rx["expected_timestamp"] = timestamp
    rx["partial_samples"] = 0
    rx["gap_since_ns"] = 0
    rx["held"] = 0
    rx["given_up"] = 0
    rx["jitter_x16"] = 0
    rx["arrival_ns"] = 0
    rx["after_loss"] = 0
    worker.calls[row]["key_press"]["is_known"] = 0  # its timestamps are of the stream before
    for slot in range(SLOTS):
        rx["held_index"][slot] = 0


@njit
def _measure_jitter(worker, row, timestamp, now_ns):
    rx = worker.calls[row]["rx"]
    clock_hz = worker.calls[row]["rtp_clock_hz"]
    transit = now_ns // 1000 * clock_hz // 1_000_000 - timestamp
    if rx["arrival_ns"] != 0:
        change = abs(timestamp_step(transit & 0xFFFFFFFF, rx["transit_ticks"] & 0xFFFFFFFF))
        if change < clock_hz:  # a pause with a new timestamp base is not jitter
            rx["jitter_x16"] += change - ((rx["jitter_x16"] + 8) >> 4)
        worker.shown[row]["counters"][JITTER_US] = (rx["jitter_x16"] >> 4) * 1_000_000 // clock_hz
    rx["transit_ticks"] = transit
    rx["arrival_ns"] = now_ns
    rx["straggler_ns"] -= rx["straggler_ns"] // STRAGGLER_FADE


@njit
def _take_straggler(worker, row, distance):
    """A packet from before: after its gap was given up it teaches to wait longer; otherwise it came twice."""
    rx = worker.calls[row]["rx"]
    counters = worker.shown[row]["counters"]
    if distance <= STRAGGLER_WINDOW and (rx["given_up"] >> (distance - 1)) & 1 != 0:
        rx["given_up"] ^= 1 << (distance - 1)
        counters[LATE] += 1
        counters[LOST] -= 1
        rx["straggler_ns"] = min(max(2 * rx["straggler_ns"], 2 * MIN_HOLD_NS), MAX_HOLD_NS)
    else:
        counters[DUPLICATES] += 1


@njit
def _put_at_hand(worker, start, size, payload_type, timestamp):
    at_hand = worker.own[0]["at_hand"]
    at_hand["start"] = start
    at_hand["size"] = size
    at_hand["payload_type"] = payload_type
    at_hand["timestamp"] = timestamp


@njit
def _hold(worker, row, index, now_ns):
    """Put the packet at hand where its turn will find it. False: it is there already."""
    own, rx, slot = worker.own[0], worker.calls[row]["rx"], index & (SLOTS - 1)
    held = worker.calls[row]["held"][slot]
    if rx["held_index"][slot] == index:
        worker.shown[row]["counters"][DUPLICATES] += 1
        return False
    at_hand = own["at_hand"]
    held["timestamp"] = at_hand["timestamp"]
    held["payload_type"] = at_hand["payload_type"]
    held["size"] = at_hand["size"]
    copy(held["payload"], 0, own["packet"], at_hand["start"], at_hand["size"])
    rx["held_ns"][slot] = now_ns
    rx["held_index"][slot] = index  # last: a successor finds the packet whole, or not at all
    rx["held"] += 1
    return True


@njit
def _open_gap(worker, row, now_ns):
    """The gap counts from when the first packet beyond it came: several gaps in one burst are not waited for in turn."""
    rx = worker.calls[row]["rx"]
    since_ns = now_ns
    for slot in range(SLOTS):
        if rx["held_index"][slot] > rx["expected"]:
            since_ns = min(since_ns, rx["held_ns"][slot])
    jitter_ns = (rx["jitter_x16"] >> 4) * 1_000_000_000 // worker.calls[row]["rtp_clock_hz"]
    hold_ns = max(MIN_HOLD_NS, 2 * jitter_ns, rx["straggler_ns"] * 5 // 4)
    rx["gap_since_ns"] = since_ns
    rx["gap_deadline_ns"] = since_ns + min(hold_ns, MAX_HOLD_NS)


@njit
def _drain(worker, row, is_at_hand, given_up_below, now_ns):
    """Deliver what is in order: the packet at hand first if its turn has come, then what is held.

    A gap before something held waits, unless it lies below the index that is given up.
    """
    call = worker.calls[row]
    rx = call["rx"]
    while is_at_hand or rx["held"] > 0 or rx["expected"] < given_up_below:
        if not is_at_hand:
            slot = rx["expected"] & (SLOTS - 1)
            if rx["held_index"][slot] == rx["expected"]:
                held = call["held"][slot]
                rx["held_index"][slot] = 0
                rx["held"] -= 1
                copy(worker.own[0]["packet"], HELD_AT, held["payload"], 0, held["size"])
                _put_at_hand(worker, HELD_AT, held["size"], held["payload_type"], held["timestamp"])
            elif rx["expected"] < given_up_below:
                _step(rx, 1)
                rx["after_loss"] = 1
                rx["gap_since_ns"] = 0
                worker.shown[row]["counters"][LOST] += 1
                continue
            else:
                if rx["gap_since_ns"] == 0:
                    _open_gap(worker, row, now_ns)
                return
        is_at_hand = False
        _step(rx, 0)
        rx["gap_since_ns"] = 0
        _deliver(worker, row, now_ns)
        rx["after_loss"] = 0
    rx["gap_since_ns"] = 0


@njit
def _step(rx, is_given_up):
    rx["expected"] += 1
    rx["given_up"] = (rx["given_up"] << 1 | is_given_up) & ((1 << STRAGGLER_WINDOW) - 1)


@njit
def _deliver(worker, row, now_ns):
    """The packet at hand is next: to the agent with it, after whatever its timestamp says is missing before it."""
    own, call = worker.own[0], worker.calls[row]
    rx, packet = call["rx"], own["packet"]
    start, size = own["at_hand"]["start"], own["at_hand"]["size"]
    payload_type, timestamp = own["at_hand"]["payload_type"], own["at_hand"]["timestamp"]
    if payload_type == call["dtmf_payload_type"]:
        key = telephone_event.take_key(call["key_press"], packet, start, size, timestamp, call["rtp_clock_hz"])
        is_key = key != telephone_event.NO_KEY
        if is_key and telephone_event.is_news(call["key_press"], call["key_press"]["event"], telephone_event.BY_RTP, now_ns):
            publish_key(worker, row, key, timestamp, now_ns)
        return
    if payload_type == call["comfort_noise_payload_type"]:
        rx["fill_at_ns"] = now_ns + SILENT_AFTER_NOISE_NS
        if size > 0:
            rx["noise_gain"] = GAINS[np.int64(packet[start]) & 0x7F]
        return
    if payload_type != call["payload_type"]:
        worker.shown[row]["counters"][UNKNOWN_PAYLOAD] += 1
        worker.totals[0, WORKER_UNKNOWN_PAYLOAD] += 1
        return
    missing = timestamp_step(timestamp, rx["expected_timestamp"]) * call["sample_rate_hz"] // call["rtp_clock_hz"]
    is_opus = call["codec_id"] == codecs.OPUS  # its decoder conceals, before it hears what follows; ours looks at what follows
    samples = 0 if is_opus else codecs.decode(call, packet, start, size, own["pcm"])
    if missing != 0:
        _fill(worker, row, missing, samples, timestamp, now_ns)
    if is_opus:
        samples = codecs.decode(call, packet, start, size, own["pcm"])
    rx["expected_timestamp"] = (timestamp + _ticks(call, samples)) & 0xFFFFFFFF
    _append(worker, row, own["pcm"], samples, 0, timestamp, now_ns)


@njit
def _fill(worker, row, missing, future_samples, timestamp, now_ns):
    """Bridge `missing` samples before `timestamp`: concealment after a loss, comfort noise after a pause.

    What follows is in `own["pcm"]`, if it is decoded already.
    """
    rx, made_up = worker.calls[row]["rx"], worker.own[0]["made_up"]
    sample_rate_hz = worker.calls[row]["sample_rate_hz"]
    begins = (timestamp - _ticks(worker.calls[row], missing)) & 0xFFFFFFFF
    if missing < 0 or missing > sample_rate_hz * MAX_FILL_MS // 1000:
        rest = -rx["partial_samples"] % (sample_rate_hz // 50)  # what came before does not share a frame with what comes after
        made_up[:rest] = 0
        _append(worker, row, made_up, rest, COMFORT_NOISE_FLAG, begins, now_ns)
        rx["position"] += max(0, missing - rest)
        rx["partial_flags"] |= DISCONTINUITY_FLAG
        return
    if rx["after_loss"] != 0:
        if worker.calls[row]["codec_id"] == codecs.OPUS:
            bridged = _bridge_opus(worker, row, missing, begins, now_ns)
        else:
            bridged = _bridge(worker, row, missing, future_samples, begins, now_ns)
        begins = (begins + _ticks(worker.calls[row], bridged)) & 0xFFFFFFFF
        missing -= bridged
    while missing > 0:
        samples = min(missing, sample_rate_hz // 50)
        _make_noise(worker, row, samples)
        _append(worker, row, made_up, samples, COMFORT_NOISE_FLAG, begins, now_ns)
        begins = (begins + _ticks(worker.calls[row], samples)) & 0xFFFFFFFF
        missing -= samples


@njit
def fill_silence(worker, row, now_ns):
    """Nothing has come until `fill_at_ns`: give the agent 20 ms of comfort noise, and the next in 20 ms."""
    call = worker.calls[row]
    rx = call["rx"]
    rx["fill_at_ns"] = max(rx["fill_at_ns"] + FRAME_NS, now_ns - SILENT_NS)
    if call["may_receive"] == 0 or rx["held"] > 0:
        return
    samples = call["sample_rate_hz"] // 50
    _make_noise(worker, row, samples)
    _append(worker, row, worker.own[0]["made_up"], samples, COMFORT_NOISE_FLAG, rx["expected_timestamp"], now_ns)
    rx["expected_timestamp"] = (rx["expected_timestamp"] + _ticks(call, samples)) & 0xFFFFFFFF


@njit
def _make_noise(worker, row, samples):
    """Comfort noise in `own["made_up"]`, as loud as the far end says that its silence is (RFC 3389 4)."""
    made_up, gain = worker.own[0]["made_up"], worker.calls[row]["rx"]["noise_gain"]
    start = worker.calls[row]["rx"]["position"] * NOISE_STEP % NOISE_STARTS
    for i in range(samples):
        made_up[i] = NOISE[start + i] * gain


@njit
def _bridge(worker, row, missing, future_samples, begins, now_ns):
    """Conceal what was lost, or its beginning if it is long; returns how many samples."""
    own, sample_rate_hz = worker.own[0], worker.calls[row]["sample_rate_hz"]
    gap = min(missing, sample_rate_hz * MAX_CONCEALED_MS // 1000)
    concealment.recall(worker, row, own["past"])
    concealment.conceal(own["past"], sample_rate_hz, own["pcm"], future_samples if gap == missing else 0, own["made_up"], gap)
    _count_frames(worker, row, CONCEALED, gap)
    _append(worker, row, own["made_up"], gap, CONCEALED_FLAG, begins, now_ns)
    return gap


@njit
def _bridge_opus(worker, row, missing, begins, now_ns):
    """What the packet at hand has of the one before it, and before that what libopus makes up; returns how many samples."""
    own, call = worker.own[0], worker.calls[row]
    sample_rate_hz, start, size = call["sample_rate_hz"], own["at_hand"]["start"], own["at_hand"]["size"]
    if missing % (sample_rate_hz // 400) != 0:
        return 0  # not a length of Opus
    recovered = opus.recoverable_samples(own["packet"], start, size, sample_rate_hz)
    recovered = recovered if recovered <= missing else 0
    bridged = 0
    while bridged < missing - recovered:
        samples = min(missing - recovered - bridged, sample_rate_hz // 50)
        made = opus.make_up(call["opus"], own["made_up"], samples)
        if made <= 0:
            return bridged
        _count_frames(worker, row, CONCEALED, made)
        _append(worker, row, own["made_up"], made, CONCEALED_FLAG, begins + _ticks(call, bridged), now_ns)
        bridged += made
    if recovered > 0:
        made = opus.recover(call["opus"], own["packet"], start, size, own["made_up"], recovered)
        _count_frames(worker, row, RECOVERED, made)
        _append(worker, row, own["made_up"], made, 0, begins + _ticks(call, bridged), now_ns)
        bridged += made
    return bridged


@njit
def _count_frames(worker, row, column, samples):
    frame_samples = worker.calls[row]["sample_rate_hz"] // 50
    worker.shown[row]["counters"][column] += (samples + frame_samples - 1) // frame_samples


@njit
def _append(worker, row, pcm, samples, flags, timestamp, now_ns):
    """Re-frame `pcm[:samples]` into 20 ms frames and publish each that is full."""
    rx, partial = worker.calls[row]["rx"], worker.calls[row]["partial"]
    frame_samples = worker.calls[row]["sample_rate_hz"] // 50
    taken = 0
    while taken < samples:
        have = rx["partial_samples"]
        if have == 0:
            rx["partial_timestamp"] = (timestamp + _ticks(worker.calls[row], taken)) & 0xFFFFFFFF
        count = min(samples - taken, frame_samples - have)
        rx["partial_flags"] |= flags
        if have + count < frame_samples:
            copy(partial, have, pcm, taken, count)
            rx["partial_samples"] = have + count
            return
        if have == 0:
            frame = pcm[taken : taken + count]  # whole as it is: nothing to put together
        else:
            copy(partial, have, pcm, taken, count)
            frame = partial[:frame_samples]
        _publish_frame(worker, row, frame, now_ns)
        taken += count


@njit
def _publish_frame(worker, row, frame, now_ns):
    call = worker.calls[row]
    rx = call["rx"]
    flags = rx["partial_flags"]
    is_echo = False
    if load_acquire(worker.rings.words, row, ECHO_GUARD) != 0:
        is_echo = echo.guard(worker.echo, row, frame, call["sample_rate_hz"], rx["position"], now_ns)
        flags |= ECHO_FLAG if is_echo else 0
    level = voice_activity.level_dbov(frame, frame.size)
    if call["tones"]["is_on"] != 0:
        key = dtmf_tone.take_key(call["tones"], frame, frame.size)
        event = telephone_event.event_of(key)
        if key != dtmf_tone.NO_KEY and telephone_event.is_news(call["key_press"], event, telephone_event.BY_RTP, now_ns):
            publish_key(worker, row, key, rx["partial_timestamp"], now_ns)
    if voice_activity.is_speech(call["voice"], min(level, echo.LEVEL_DBOV) if is_echo else level):
        flags |= SPEECH_FLAG
    if voice_activity.is_voiced(call["voice"]):
        flags |= VOICED_FLAG
    position = rx["position"]
    rx["position"] = position + frame.size
    rx["partial_samples"] = 0
    rx["partial_flags"] = 0
    counters = worker.shown[row]["counters"]
    counters[LEVEL_RX] = level
    is_in_room = call["place"]["role"] != rooms.OUT
    kind = LINE if is_in_room else AUDIO
    ring.publish(worker.rings, row, kind, flags, level, frame, 0, frame.size, position, rx["partial_timestamp"], 0, 0, now_ns)
    if is_in_room:
        rooms.take_frame(worker, row, frame, flags, now_ns)
        return
    counters[CALL_FRAMES] += 1
    worker.totals[0, FRAMES_TO_AI] += 1
    worker.own[0]["rung"][call["bridge"]] = 1


@njit
def publish_key(worker, row, key, timestamp, now_ns):
    """Tell the agent of a key, unless there are too many of them."""
    counters = worker.shown[row]["counters"]
    if telephone_event.is_flood(worker.calls[row]["key_press"], now_ns):
        counters[KEYS_DROPPED] += 1
        return
    position = worker.calls[row]["rx"]["position"]
    ring.publish(worker.rings, row, DTMF, 0, 0, worker.own[0]["pcm"], 0, 0, position, timestamp, 0, key, now_ns)
    counters[KEYS] += 1
    if worker.calls[row]["place"]["role"] != rooms.OUT:
        rooms.take_key(worker, row, key)
    worker.own[0]["rung"][worker.calls[row]["bridge"]] = 1
