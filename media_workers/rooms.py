"""Calls of one worker that hear each other: two joined, a conference, who listens in, who whispers, who waits with music.

One mechanism for all: a call has a place in a room, and in it two parties, its far end (the line) and its agent, with a role each. A party
that listens hears every party that talks, except itself. What lines say comes from their playout buffers, what agents say from where their
own line's tick puts it, both on the clock; so what one hears is a sum over the others, made when its packet is due: nothing is kept for a
pair.

A place is part of the call's row; the lists of a worker's rooms are made from the rows, by its Python side: a worker that takes over makes
them anew.
"""

from typing import TYPE_CHECKING

import numpy as np

from control_plane.errors import Misuse
from control_plane.messages import MAX_PARTIES, Party
from media_workers import playout_buffer, sounds, telephone_event, voice_activity
from media_workers.codecs import halfband
from media_workers.sounds import MUSIC, RINGBACK
from media_workers.voice_activity import VOICE
from shm import ring, segment
from shm.copying import copy
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit
from shm.layout import AUDIO, COMFORT_NOISE_FLAG, DISCONTINUITY_FLAG, MIXED_FLAG, SPEECH_FLAG, VOICED_FLAG

if TYPE_CHECKING:
    import numpy.typing as npt

    from media_workers.call_table import Worker
    from media_workers.rows import Rows

OUT, TALK, LISTEN, WHISPER, HOLD, RING = range(6)
"""OUT: in no room; of an agent: beside it, deaf and mute. HOLD and RING: hears music, or ringing, and is heard by its own agent alone."""
ROLES = {"out": OUT, "talk": TALK, "listen": LISTEN, "whisper": WHISPER, "music": HOLD, "ringback": RING}
NOBODY = -1
KEYS_HELD = 16
FRAME_NS, TOO_LATE_NS = 20_000_000, 200_000_000
RUN_IN = halfband.TAPS
"""Samples of the slower rate that fill a filter before what is wanted: so it needs no memory."""

PLACE = np.dtype(
    [
        ("room", "S40"),
        ("number", "i8"),  # of the room, among those of this worker
        ("role", "i8"),
        ("agent_role", "i8"),
        ("to", "i8"),  # the party that it whispers to: row << 1, | 1 for the agent there
        ("agent_to", "i8"),
        ("heard_ns", "i8"),  # when the agent's next frame of the room is due
        ("heard", "i8"),  # its position: it goes on from that of the line
        ("is_anew", "i8"),  # it is the first
        ("voice", VOICE),  # of what the agent hears
        ("keys", "u1", KEYS_HELD),  # of other parties, to be sent
        ("keys_written", "i8"),
        ("keys_read", "i8"),
        ("key_event", "i8"),  # of the one that is being sent
        ("key_left", "i8"),  # samples of it and the gap behind it that are still to be sent
    ]
)

STRETCHED, DROPPED = CALL_COLUMN["stretched_samples"], CALL_COLUMN["shortened_samples"]
CALL_FRAMES, FRAMES_TO_AI = CALL_COLUMN["frames_to_ai"], WORKER["frames_to_ai"]


# ---- who hears whom ---------------------------------------------------------------------------------------------


@njit
def is_heard(calls, speaker, listener):
    """Whether one party of a room hears another. A party is row << 1, and | 1 for the agent."""
    if speaker == listener:
        return False
    if speaker >> 1 == listener >> 1:  # an agent that is not out has the ear of its own line, and it that of the agent
        place = calls[speaker >> 1]["place"]
        if listener & 1 == 0:
            return _speaks_to(place["agent_role"], place["agent_to"], listener)
        return place["agent_role"] != OUT
    hearing, place = calls[listener >> 1]["place"], calls[speaker >> 1]["place"]
    role = hearing["agent_role"] if listener & 1 else hearing["role"]
    if role not in (TALK, LISTEN, WHISPER):
        return False
    if speaker & 1:
        return _speaks_to(place["agent_role"], place["agent_to"], listener)
    return _speaks_to(place["role"], place["to"], listener)


@njit
def _speaks_to(role, to, listener):
    return role == TALK or (role == WHISPER and to == listener)


@njit
def agent_may_speak(place):
    """What it says meanwhile waits."""
    return place["role"] == OUT or place["agent_role"] == TALK or place["agent_role"] == WHISPER


# ---- from the line ----------------------------------------------------------------------------------------------


@njit
def take_frame(worker, row, frame, flags, now_ns):
    """20 ms of this line: for the others of its room."""
    call = worker.calls[row]
    rate_hz = call["sample_rate_hz"]
    lead = playout_buffer.start_lead((call["rx"]["jitter_x16"] >> 4) * 1_000_000_000 // call["rtp_clock_hz"], rate_hz)
    is_noise = flags & COMFORT_NOISE_FLAG != 0
    changed = playout_buffer.put(call["line"], frame, is_noise, lead, now_ns, rate_hz, worker.own[0]["past"])
    worker.shown[row]["counters"][STRETCHED if changed > 0 else DROPPED] += abs(changed)


@njit
def take_key(worker, row, key):
    """A key that this line pressed: every line that hears it gets it as its own."""
    room = worker.rooms[worker.calls[row]["place"]["number"]]
    for i in range(1, room[0] + 1):
        place = worker.calls[room[i]]["place"]
        if is_heard(worker.calls, row << 1, room[i] << 1) and place["keys_written"] - place["keys_read"] < KEYS_HELD:
            place["keys"][place["keys_written"] % KEYS_HELD] = key
            place["keys_written"] += 1


# ---- to the line ------------------------------------------------------------------------------------------------


@njit
def mix_in(worker, row, spoken, samples):
    """Put what this line hears of its room into `own["pcm"]`, where `spoken` samples are its own agent's; returns how many are to be heard.

    What the agent says goes to the others of the room, too.
    """
    own, call = worker.own[0], worker.calls[row]
    rate_hz, mix = call["sample_rate_hz"], own["mix"]
    at_ns = call["tx"]["next_tx_ns"]
    if spoken > 0:
        playout_buffer.write_at(call["speech"], playout_buffer.sample_at(at_ns, rate_hz), own["pcm"], spoken, rate_hz)
        if not is_heard(worker.calls, row << 1 | 1, row << 1):
            spoken = 0
    if not _mix(worker, row << 1, at_ns, samples):
        return spoken
    for i in range(spoken):
        mix[i] += own["pcm"][i]
    _limit(mix, own["pcm"], samples)
    return samples


@njit
def has_key(place):
    return place["key_left"] > 0 or place["keys_written"] != place["keys_read"]


@njit
def next_key(place, rate_hz):
    """Begin with the next key; its ASCII code."""
    key = np.int64(place["keys"][place["keys_read"] % KEYS_HELD])
    place["keys_read"] += 1
    place["key_event"] = max(0, telephone_event.event_of(key))
    place["key_left"] = (sounds.PRESS_MS + sounds.GAP_MS) * rate_hz // 1000
    return key


@njit
def sound_key(worker, row, samples):
    """The tones of the key that is being sent, in `own["pcm"]`; returns the samples of its press among them."""
    call, pcm = worker.calls[row], worker.own[0]["pcm"]
    place, rate_hz = call["place"], call["sample_rate_hz"]
    whole = (sounds.PRESS_MS + sounds.GAP_MS) * rate_hz // 1000
    done = whole - place["key_left"]
    count = min(samples, place["key_left"])
    pcm[:samples] = 0
    copy(pcm, 0, worker.sounds.keys[sounds.rate_number(rate_hz), place["key_event"]], done, count)
    place["key_left"] -= count
    return max(0, min(sounds.PRESS_MS * rate_hz // 1000 - done, samples))


# ---- to the agent -----------------------------------------------------------------------------------------------


@njit
def hears(place):
    """The agent hears the room, on the clock, instead of its line as it comes."""
    return place["role"] != OUT and place["agent_role"] != OUT


@njit
def tell_agent(worker, row, now_ns):
    """Give the agent what is due of the room."""
    call = worker.calls[row]
    place, rate_hz, own = call["place"], call["sample_rate_hz"], worker.own[0]
    samples = rate_hz // 50
    if now_ns - place["heard_ns"] > TOO_LATE_NS:
        missed = (now_ns - place["heard_ns"]) // FRAME_NS
        place["heard_ns"] += missed * FRAME_NS
        place["heard"] += missed * samples
        place["is_anew"] = 1
    while now_ns >= place["heard_ns"]:
        if not _mix(worker, row << 1 | 1, place["heard_ns"], samples):
            own["mix"][:samples] = 0
        _limit(own["mix"], own["pcm"], samples)
        level = voice_activity.level_dbov(own["pcm"], samples)
        flags = MIXED_FLAG | (DISCONTINUITY_FLAG if place["is_anew"] != 0 else 0)
        if voice_activity.is_speech(place["voice"], level):
            flags |= SPEECH_FLAG | (VOICED_FLAG if voice_activity.is_voiced(place["voice"]) else 0)
        ring.publish(worker.rings, row, AUDIO, flags, level, own["pcm"], 0, samples, place["heard"], 0, 0, 0, now_ns)
        worker.shown[row]["counters"][CALL_FRAMES] += 1
        worker.totals[0, FRAMES_TO_AI] += 1
        own["rung"][call["bridge"]] = 1
        place["heard_ns"] += FRAME_NS
        place["heard"] += samples
        place["is_anew"] = 0


# ---- the sum ----------------------------------------------------------------------------------------------------


@njit
def _mix(worker, listener, at_ns, samples):
    """Sum what this party hears in the time before `at_ns` in `own["mix"]`. False: nothing, and `mix` is not to be used."""
    calls, row = worker.calls, listener >> 1
    place, rate_hz, mix = calls[row]["place"], calls[row]["sample_rate_hz"], worker.own[0]["mix"]
    start = playout_buffer.sample_at(at_ns, rate_hz) - samples
    mix[:samples] = 0
    has_any = False
    if listener & 1 == 0 and (place["role"] == HOLD or place["role"] == RING):
        sounds.add(worker.sounds, MUSIC if place["role"] == HOLD else RINGBACK, start, samples, rate_hz, mix)
        has_any = True
    room = worker.rooms[place["number"]]
    for i in range(1, room[0] + 1):
        other = room[i]
        if is_heard(calls, other << 1, listener):
            has_any |= _add(worker, calls[other]["line"], calls[other]["sample_rate_hz"], start, samples, rate_hz)
        if other != row and is_heard(calls, other << 1 | 1, listener):
            has_any |= _add(worker, calls[other]["speech"], calls[other]["sample_rate_hz"], start, samples, rate_hz)
    return has_any


@njit
def _add(worker, buffer, from_hz, start, samples, rate_hz):
    """Add what a party says, at the listener's rate. Lines have 8 or 16 kHz."""
    own = worker.own[0]
    mix, pcm, line = own["mix"], own["made_up"], own["filter"]
    if from_hz == rate_hz:
        playout_buffer.cover(buffer, start + samples, rate_hz, own["past"])
        return playout_buffer.add(buffer, start, samples, rate_hz, mix)
    line[:] = 0
    if from_hz == 2 * rate_hz:
        first, count = 2 * (start - RUN_IN), 2 * (samples + RUN_IN)
        playout_buffer.cover(buffer, first + count, from_hz, own["past"])
        if not playout_buffer.fetch(buffer, first, count, from_hz, pcm):
            return False
        halfband.halve(line, pcm, count)
        skipped = RUN_IN
    elif 2 * from_hz == rate_hz:
        first, count = start // 2 - RUN_IN, samples // 2 + RUN_IN
        playout_buffer.cover(buffer, first + count, from_hz, own["past"])
        narrow = pcm[2 * count :]
        if not playout_buffer.fetch(buffer, first, count, from_hz, narrow):
            return False
        halfband.double(line, narrow, pcm, count)
        skipped = 2 * RUN_IN
    else:
        return False
    for i in range(samples):
        mix[i] += pcm[skipped + i]
    return True


@njit
def _limit(mix, pcm, samples):
    for i in range(samples):
        pcm[i] = min(max(mix[i], -32768), 32767)


# ---- Python's side, between two cycles -----------------------------------------------------------------------------


def place_parties(rows: "Rows", room_id: str, parties: tuple[Party, ...], now_ns: int) -> None:
    """This room has these parties from now on, and no others; none: it is no more. Said again, it changes nothing."""
    if len(parties) > MAX_PARTIES:
        raise Misuse(f"{len(parties)} calls in room {room_id}: {MAX_PARTIES} is the most")
    calls = rows.calls
    there = {row: party for party in parties if (row := rows.find(party.call_id)) is not None}
    open_rows = rows.open_rows()
    for row in open_rows[calls["place"]["room"][open_rows] == room_id.encode()].tolist():
        if row not in there:
            leave(calls[row])
    for row, party in there.items():
        call = calls[row]
        place = call["place"]
        if bytes(place["room"]) != room_id.encode():
            leave(call)
            for buffer in ("line", "speech"):
                segment.populate(call[buffer]["pcm"][: int(call["sample_rate_hz"]) * playout_buffer.BUFFER_MS // 1000])
            place["room"] = room_id.encode()
        if place["role"] == OUT or place["agent_role"] == OUT:
            place["heard_ns"] = now_ns // FRAME_NS * FRAME_NS + FRAME_NS
            place["heard"], place["is_anew"] = call["rx"]["position"], 1
            voice_activity.start(place["voice"])
        place["to"], place["agent_to"] = (_party_of(rows, name) for name in (party.to, party.agent_to))
        place["agent_role"] = ROLES[party.agent]
        place["role"] = ROLES[party.role]
    number_rooms(rows.worker, open_rows)


def leave(call: np.void) -> None:
    """Out of its room. A row that was in none keeps away from the pages of its buffers, which it then does not have."""
    if call["place"]["room"]:
        for buffer in ("line", "speech"):  # no sample of another call, or of another room
            for name in playout_buffer.PLAYOUT_BUFFER.names or ():
                if name != "pcm":
                    call[buffer][name] = 0
    call["place"] = np.zeros((), PLACE)  # last: whoever goes on after a crash here finds the room still named


def number_rooms(worker: "Worker", rows: "npt.NDArray[np.int64]") -> None:
    """Tell the duty cycle who is together, from what the rows say."""
    calls, members = worker.calls, worker.rooms
    members[:, 0] = 0
    numbers: dict[bytes, int] = {}
    for row in rows[calls["place"]["role"][rows] != OUT].tolist():  # of thousands, mostly few
        place = calls[row]["place"]
        number = place["number"] = numbers.setdefault(bytes(place["room"]), len(numbers))
        members[number, 0] += 1
        members[number, int(members[number, 0])] = row


def _party_of(rows: "Rows", name: str) -> int:
    """"CALL_ID", or "CALL_ID/agent"."""
    call_id, _, what = name.partition("/")
    row = rows.find(call_id) if call_id else None
    return NOBODY if row is None else row << 1 | (what == "agent")
