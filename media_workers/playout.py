"""What goes out: one packet per ptime on an absolute grid, whatever the agent does.

Speech is taken from the ring in the order it was said, older turns are dropped as soon as a newer one begins, and
comfort noise fills the rest: RTP never stops, unless the far end makes the noise itself (RFC 3389) and the operator
wants that. What is on the wire is published, to the sample.
RTP timestamps come from samples sent. A late tick is caught up; one that is too late for its packets to be of
use is skipped, with the timestamp moved on and the marker set, so the stream is never shifted.

Frames that are parts of a key (shm/layout.py SPEECH) are sent as telephone-events where that was agreed: the
timestamp stands, the duration grows, and when the key is over its end goes out three times, in place of the silence
behind it (RFC 4733 2.5.1). Where it was not agreed they are sent as the tones that they hold.
"""

import numpy as np

from media_workers import codecs, ducking, echo, rooms, rtp, tape, telephone_event
from media_workers.comfort_noise import NOISE, NOISE_DBOV, NOISE_STARTS, NOISE_STEP
from media_workers.voice_activity import level_dbov
from shm import ring
from shm.atomics import load_acquire
from shm.copying import copy
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit
from shm.layout import (
    DRAINED,
    DUCK_DB,
    ECHO_GUARD,
    FROM_AI_READ,
    FROM_AI_SLOTS,
    FROM_AI_WRITE,
    KEY_GAP,
    MARK_PLAYED,
    TAPE_RUNNING,
    TURN,
    TURN_ENDED,
)

MAX_CATCH_UP_NS = 200_000_000
"""Later than this, packets are skipped: far ends' buffers have given up on them."""
LATE_NS = 20_000_000
NOTHING = 0
NOISE_INTERVAL_MS = 200  # keeps the way through NATs open, and a far end from thinking that we have gone
WAS_CUT = 1  # flag of TURN_ENDED: part of the turn was never heard

TX_STREAM = np.dtype(
    [
        ("ssrc", "i8"),
        ("seq", "i8"),
        ("timestamp", "i8"),
        ("next_tx_ns", "i8"),
        ("last_tx_ns", "i8"),
        ("marker", "i8"),
        ("turn", "i8"),  # of what is being played
        ("turn_samples", "i8"),  # of it, on the wire
        ("released", "i8"),  # the read cursor as playing left it: where it is farther, speech was dropped
        ("cursor", "i8"),  # the frame that is partly sent
        ("offset", "i8"),  # how many of its samples are
        ("is_speaking", "i8"),
        ("ducked", "i8"),  # how much of speech is taken away now, in 1/32768 (ducking.py)
        ("noise", "i8"),
        ("noise_wait_samples", "i8"),  # of silence, until a comfort noise packet is due
        ("octets", "i8"),  # of payload, sent
        ("key", "i8"),  # ASCII code of the key that is being sent, 0: none
        ("key_timestamp", "i8"),
        ("key_samples", "i8"),  # how long it has lasted
        ("key_grew", "i8"),  # this packet lengthened it
        ("key_ends", "i8"),  # it is over: end packets that are still to be sent
        ("tape", "i8"),  # is it recorded: TAPE_OFF, TAPE_RUNNING, TAPE_PAUSED of shm/layout.py
        ("reel", "i8"),  # how often the tape began to run
        ("reel_at", "i8"),  # the sample that it began to run at, or will
        ("reel_ns", "i8"),  # and when that was due
    ]
)

CALL_SPEECH, CALL_SILENCE, CALL_LATE = (CALL_COLUMN[n] for n in ("frames_from_ai", "silence_frames", "sent_late"))
CALL_SENT, LONGEST_GAP, LEVEL_TX = (CALL_COLUMN[n] for n in ("packets_sent", "longest_gap_ns", "level_tx_dbov"))
TURNS, INTERRUPTIONS, KEYS_SENT = (CALL_COLUMN[n] for n in ("turns", "interruptions", "keys_sent"))
SENT, SPEECH, SILENCE = (WORKER[n] for n in ("packets_sent", "frames_from_ai", "silence_frames"))
LATE, LATENESS, WORST, SKIPPED = (WORKER[n] for n in ("sent_late", "lateness_ns", "worst_lateness_ns", "ticks_skipped"))


@njit
def packet_ns(call):
    return call["packet_samples"] * 1_000_000_000 // call["sample_rate_hz"]


@njit
def build(worker, row, now_ns):
    """The call's next packet in `worker.own[0]["packet"]`; returns its size, or NOTHING where silence is left
    out (DTX of Opus, comfort noise that the far end makes). The stream has moved on when this returns.

    It moves on before the packet is sent: a worker that dies in between costs one packet, and none is sent twice.
    """
    call = worker.calls[row]
    tx = call["tx"]
    samples = call["packet_samples"]
    spoken = _hear(worker, row, samples, now_ns)
    _add_noise(tx, worker.own[0]["pcm"], spoken, samples)
    level = level_dbov(worker.own[0]["pcm"], samples) if spoken else NOISE_DBOV
    if tx["tape"] == TAPE_RUNNING:
        tape.write(worker, row, samples)  # before the codec, which uses the samples up
    if load_acquire(worker.rings.words, row, ECHO_GUARD) != 0:
        echo.remember(worker.echo, row, worker.own[0]["pcm"], samples, tx["next_tx_ns"], call["sample_rate_hz"])
    makes_noise = spoken == 0 and tx["key"] == 0 and call["sends_noise"] != 0
    if not makes_noise:
        tx["noise_wait_samples"] = 0
    if tx["key"] != 0:
        size = _write_key(worker, row)
    elif makes_noise:
        size = _describe_noise(worker, row, samples)
    else:
        rtp.write_header(worker.own[0]["packet"], call["payload_type"], tx["marker"] != 0, tx["seq"], tx["timestamp"], tx["ssrc"])
        octets = codecs.encode(call, worker.own[0]["pcm"], samples, worker.own[0]["packet"], rtp.HEADER_BYTES)
        size = rtp.HEADER_BYTES + octets if octets > 0 else NOTHING
    tx["marker"] = 0 if size > 0 and not makes_noise else 1
    tx["octets"] += max(0, size - rtp.HEADER_BYTES)
    tx["seq"] = (tx["seq"] + (1 if size > 0 else 0)) & 0xFFFF
    tx["timestamp"] = (tx["timestamp"] + samples * call["rtp_clock_hz"] // call["sample_rate_hz"]) & 0xFFFFFFFF
    counters = worker.shown[row]["counters"]
    counters[LEVEL_TX] = level
    column, call_column = (SPEECH, CALL_SPEECH) if spoken else (SILENCE, CALL_SILENCE)
    counters[call_column] += 1
    worker.totals[0, column] += 1
    return size


@njit
def _hear(worker, row, samples, now_ns):
    """What the far end is to hear next: of its agent, and of the room that it is in; how many samples."""
    call = worker.calls[row]
    place, tx = call["place"], call["tx"]
    if place["role"] == rooms.OUT:
        return _fill(worker, row, samples, now_ns)
    if rooms.has_key(place) and (tx["key"] == 0 or place["key_left"] > 0):
        return _pass_key(worker, row, samples)
    spoken = 0
    if rooms.agent_may_speak(place):
        spoken = _fill(worker, row, samples, now_ns)
    elif tx["key"] != 0:  # of another line, or its agent's from before it went out
        tx["key_grew"] = 0
        _end_key(tx)
    return rooms.mix_in(worker, row, spoken, samples)


@njit
def _pass_key(worker, row, samples):
    """A key that another line of the room pressed: as an event where that was agreed, else as its tones."""
    call = worker.calls[row]
    place, tx = call["place"], call["tx"]
    if place["key_left"] == 0:
        _follow_key(call, rooms.next_key(place, call["sample_rate_hz"]), 0)
    pressed = rooms.sound_key(worker, row, samples)
    tx["key_grew"] = 1 if pressed > 0 else 0
    if tx["key"] != 0:
        tx["key_samples"] += pressed
        if pressed == 0:
            _end_key(tx)
    return samples


@njit
def _fill(worker, row, samples, now_ns):
    """Take up to `samples` of speech into `worker.own[0]["pcm"]`; returns how many there were.

    Marks and the end of turns are told here, one packet time before they are true at the worst by what the kernel
    takes to send: the packet leaves within microseconds.
    """
    tx = worker.calls[row]["tx"]
    rings = worker.rings
    _follow_turn(worker, row, load_acquire(rings.words, row, TURN), now_ns)
    filled, has_key = 0, False
    tx["key_grew"] = 0
    while filled < samples:
        cursor = ring.try_take(rings, row)
        if cursor < 0:
            break
        speech = rings.from_ai[row, cursor & (FROM_AI_SLOTS - 1)]
        if speech["turn"] > tx["turn"]:
            if filled > 0:
                break  # a packet holds samples of one turn only, so that what was heard of each is exact
            _follow_turn(worker, row, speech["turn"], now_ns)
        if (tx["key"] != 0 or speech["key"] != 0) and not _follow_key(worker.calls[row], speech["key"], filled):
            break
        if cursor != tx["cursor"]:
            tx["cursor"] = cursor
            tx["offset"] = 0
        frame_samples = worker.calls[row]["sample_rate_hz"] // 50  # not the ring's word: an agent's process may write there
        available = max(0, min(speech["samples"], frame_samples))
        count = max(0, min(samples - filled, available - tx["offset"]))
        base = (cursor & (FROM_AI_SLOTS - 1)) * frame_samples + tx["offset"]
        copy(worker.own[0]["pcm"], filled, rings.from_ai_pcm[row], base, count)
        filled += count
        tx["offset"] += count
        tx["turn_samples"] += count
        if tx["key"] != 0 and speech["key"] == tx["key"]:
            tx["key_samples"] += count
            tx["key_grew"] = 1
        has_key = has_key or speech["key"] != 0
        if tx["offset"] >= available:
            mark, turn = speech["mark"], speech["turn"]
            ring.release(rings, row, cursor)
            tx["released"] = cursor + 1
            if mark != 0:
                _tell(worker, row, MARK_PLAYED, 0, turn, mark, now_ns)
    if tx["key"] != 0 and tx["key_grew"] == 0:
        _end_key(tx)
    if filled > 0:
        tx["is_speaking"] = 1
        if not has_key:
            ducking.lower(tx, worker.own[0]["pcm"], filled, load_acquire(rings.words, row, DUCK_DB), worker.calls[row]["sample_rate_hz"])
        ring.set_played(rings.words, row, tx["turn"], tx["turn_samples"])
    if filled < samples and tx["is_speaking"] != 0 and _is_empty(rings, row):
        tx["is_speaking"] = 0
        _tell(worker, row, DRAINED, 0, tx["turn"], tx["turn_samples"], now_ns)
    return filled


@njit
def _follow_key(call, key, filled):
    """May a frame of this key, of the silence behind one, or of speech (0) go on in the packet that holds `filled` samples?"""
    tx = call["tx"]
    if tx["key"] == 0:
        if call["dtmf_payload_type"] < 0 or telephone_event.event_of(key) == telephone_event.NO_KEY:
            return True
        if filled > 0:
            return False  # a press begins with a packet
        tx["key"] = key
        tx["key_timestamp"] = tx["timestamp"]
        tx["key_samples"] = 0
        tx["marker"] = 1
        return True
    if key == tx["key"] and tx["key_ends"] == 0:
        return True
    _end_key(tx)
    return key == KEY_GAP


@njit
def _end_key(tx):
    if tx["key_ends"] == 0:
        tx["key_ends"] = telephone_event.END_PACKETS


@njit
def _write_key(worker, row):
    """The packet of a press that lasts, or one of those that end it; returns its size."""
    call, packet = worker.calls[row], worker.own[0]["packet"]
    tx = call["tx"]
    is_end = tx["key_grew"] == 0
    rtp.write_header(packet, call["dtmf_payload_type"], tx["marker"] != 0, tx["seq"], tx["key_timestamp"], tx["ssrc"])
    duration = tx["key_samples"] * call["rtp_clock_hz"] // call["sample_rate_hz"]
    size = telephone_event.write(packet, rtp.HEADER_BYTES, tx["key"], is_end, duration)
    if is_end:
        tx["key_ends"] -= 1
        if tx["key_ends"] == 0:
            tx["key"] = 0
            worker.shown[row]["counters"][KEYS_SENT] += 1
    return rtp.HEADER_BYTES + size


@njit
def _describe_noise(worker, row, samples):
    """A comfort noise packet as silence begins and from time to time (RFC 3389 4: its level alone), else NOTHING; returns its size."""
    call, packet = worker.calls[row], worker.own[0]["packet"]
    tx = call["tx"]
    is_due = tx["noise_wait_samples"] <= 0
    if is_due:
        tx["noise_wait_samples"] = call["sample_rate_hz"] * NOISE_INTERVAL_MS // 1000
    tx["noise_wait_samples"] -= samples
    if not is_due:
        return NOTHING
    rtp.write_header(packet, call["comfort_noise_payload_type"], False, tx["seq"], tx["timestamp"], tx["ssrc"])
    packet[rtp.HEADER_BYTES] = -NOISE_DBOV
    return rtp.HEADER_BYTES + 1


@njit
def _is_empty(rings, row):
    return load_acquire(rings.words, row, FROM_AI_WRITE) == load_acquire(rings.words, row, FROM_AI_READ)


@njit
def _follow_turn(worker, row, turn, now_ns):
    """A newer turn: tell how much of the old one was heard, to the sample, and begin the new one."""
    tx = worker.calls[row]["tx"]
    if turn <= tx["turn"]:
        return
    ring.try_take(worker.rings, row)  # drops what is of older turns, if the loop in _fill has not already
    read = load_acquire(worker.rings.words, row, FROM_AI_READ)
    was_cut = read != tx["released"]
    tx["released"] = read
    _tell(worker, row, TURN_ENDED, WAS_CUT if was_cut else 0, tx["turn"], tx["turn_samples"], now_ns)
    counters = worker.shown[row]["counters"]
    counters[TURNS] += 1
    counters[INTERRUPTIONS] += 1 if was_cut else 0
    if tx["key"] != 0:
        _end_key(tx)
    tx["turn"] = turn
    tx["turn_samples"] = 0
    tx["is_speaking"] = 0
    ring.set_played(worker.rings.words, row, turn, 0)


@njit
def _tell(worker, row, kind, flags, turn, value, now_ns):
    position = worker.calls[row]["tx"]["turn_samples"]
    ring.publish(worker.rings, row, kind, flags, 0, worker.own[0]["pcm"], 0, 0, position, 0, turn, value, now_ns)
    worker.own[0]["rung"][worker.calls[row]["bridge"]] = 1


@njit
def _add_noise(tx, pcm, start, end):
    """Comfort noise, from a place in it that moves by a prime, so that no tone comes of repeating it."""
    tx["noise"] = (tx["noise"] + NOISE_STEP) % NOISE_STARTS
    copy(pcm, start, NOISE, tx["noise"], end - start)


@njit
def stay_silent(worker, row, now_ns):
    """Let one packet time pass unsent: on hold, or with nowhere to send to. What the agent says waits."""
    call = worker.calls[row]
    tx = call["tx"]
    _follow_turn(worker, row, load_acquire(worker.rings.words, row, TURN), now_ns)
    if tx["tape"] == TAPE_RUNNING:
        tape.write_silence(worker, row, call["packet_samples"])
    tx["next_tx_ns"] += packet_ns(call)
    tx["timestamp"] = (tx["timestamp"] + call["packet_samples"] * call["rtp_clock_hz"] // call["sample_rate_hz"]) & 0xFFFFFFFF
    tx["marker"] = 1
    tx["last_tx_ns"] = 0


@njit
def leave_out(call):
    """Account for a packet time in which nothing was to be sent: its gap is none."""
    call["tx"]["next_tx_ns"] += packet_ns(call)
    call["tx"]["last_tx_ns"] = 0


@njit
def skip_if_too_late(worker, row, now_ns):
    """Move a stream that is hopelessly late on along its grid."""
    tx = worker.calls[row]["tx"]
    late_ns = now_ns - tx["next_tx_ns"]
    if late_ns <= MAX_CATCH_UP_NS:
        return
    call = worker.calls[row]
    packets = late_ns // packet_ns(call)
    if tx["tape"] == TAPE_RUNNING:
        tape.write_silence(worker, row, packets * call["packet_samples"])
    tx["next_tx_ns"] += packets * packet_ns(call)
    tx["timestamp"] = (tx["timestamp"] + packets * call["packet_samples"] * call["rtp_clock_hz"] // call["sample_rate_hz"]) & 0xFFFFFFFF
    tx["marker"] = 1
    worker.totals[0, SKIPPED] += packets


@njit
def account(worker, row, now_ns):
    """Note that a packet went out, and how late it was."""
    tx = worker.calls[row]["tx"]
    counters = worker.shown[row]["counters"]
    lateness = now_ns - tx["next_tx_ns"]
    tx["next_tx_ns"] += packet_ns(worker.calls[row])
    totals = worker.totals[0]
    totals[SENT] += 1
    counters[CALL_SENT] += 1
    if tx["last_tx_ns"] != 0:
        counters[LONGEST_GAP] = max(counters[LONGEST_GAP], now_ns - tx["last_tx_ns"])
    tx["last_tx_ns"] = now_ns
    if lateness > LATE_NS:
        totals[LATE] += 1
        counters[CALL_LATE] += 1
    totals[WORST] = max(totals[WORST], lateness)
    totals[LATENESS] += max(0, lateness)
    bucket, limit_ns = 0, 1000
    while lateness >= limit_ns and bucket < 31:
        bucket += 1
        limit_ns *= 2
    worker.lateness[bucket] += 1
