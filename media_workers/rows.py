"""Giving rows to calls and taking them back: the Python side of the call table, once per call, never per packet.

A row is written completely before GENERATION makes it visible to bridges, and a command that comes twice finds
what the first one did. A worker that takes over reads everything from the table.
"""

import base64
import secrets

import numpy as np
import numpy.typing as npt

from control_plane import g729_library, opus_library
from control_plane.config import Opus
from control_plane.errors import Exhausted, NotAcceptable
from control_plane.formats import FORMATS
from control_plane.messages import MediaDescription, Party
from media_workers import (
    capture,
    codecs,
    dtmf_tone,
    echo,
    jitter_buffer,
    libbcg729,
    libopus,
    quality,
    rooms,
    rtcp,
    shared_port,
    source,
    srtp,
    tape,
    telephone_event,
    voice_activity,
)
from media_workers.call_table import CALL, FREE, GROUPS, OPEN, QUIET, Worker
from media_workers.codecs import g729, opus
from media_workers.codecs.g729 import G729
from media_workers.dtmf_tone import TONES
from media_workers.duty_cycle import MS
from media_workers.jitter_buffer import SLOTS
from media_workers.srtp import SRTP
from shm import layout, ring, segment
from shm.counters import CALL_COLUMN, CALL_COUNTERS, WORKER
from shm.layout import MAX_BRIDGES

TELL_APART = "calls of one address need their SSRCs in the SDP (a=ssrc) to be told apart: set shared_rtp_port = false for this trunk"
TAPES = {"on": layout.TAPE_RUNNING, "off": layout.TAPE_OFF, "pause": layout.TAPE_PAUSED}
QUIET_AT_MOST_NS = 600_000_000_000
"""A port that never falls silent is used again after ten minutes all the same."""


class Rows:
    """The rows of one worker."""

    def __init__(
        self,
        worker: Worker,
        index: int,
        count: int,
        port_quiet_ns: int,
        rtcp_interval_ns: int = 5_000_000_000,
        inband_dtmf: bool = False,
        comfort_noise: bool = False,
        opus_settings: Opus = Opus(),  # noqa: B008
    ) -> None:
        """`rtcp_interval_ns`: 0 sends none. `inband_dtmf`: listen for tones where telephone-event was not agreed. `comfort_noise`: where
        it was agreed, leave silence out."""
        self.rtcp_interval_ns, self.inband_dtmf, self.comfort_noise = rtcp_interval_ns, inband_dtmf, comfort_noise
        self.opus_settings = opus_settings
        self.worker, self.index, self.first, self.count, self.port_quiet_ns = worker, index, index * count, count, port_quiet_ns
        first = self.first
        self.calls = worker.calls
        self._by_call_id = {
            bytes(self.calls[row]["call_id"]).decode(): row for row in range(first, first + count) if self.calls[row]["state"] == OPEN
        }
        self.calls["g729"][first : first + count] = np.zeros((), G729)  # whoever made those coders has gone
        for row in self._by_call_id.values():
            _recount_held(self.calls[row]["rx"])
            srtp.restore(worker, row)
            if self.calls[row]["codec_id"] == codecs.OPUS:
                opus.restore(self.calls[row]["opus"], int(self.calls[row]["sample_rate_hz"]))
            elif self.calls[row]["codec_id"] == codecs.G729:
                g729.start(self.calls[row]["g729"])
        self.calls["srtp"][first : first + count][self.calls["state"][first : first + count] != OPEN] = np.zeros((), SRTP)
        shared_port.enter_all(worker, first, count, FREE)
        self.regroup()

    def __len__(self) -> int:
        return len(self._by_call_id)

    def find(self, call_id: str) -> int | None:
        return self._by_call_id.get(call_id)

    def open(
        self, call_id: str, bridge: int, media: MediaDescription, now_ns: int, front: int = 0, is_port_shared: bool = False
    ) -> int:
        """The row for this call; the one that it has, if it has one. `is_port_shared`: on the port that calls share, if it can be
        told from the others there, else on one of its own.

        Raises Exhausted when every port is in use or still quiet from the call before, NotAcceptable for a format
        or ptime that this worker cannot do.
        """
        if call_id in self._by_call_id:
            return self._by_call_id[call_id]
        _check(media)
        srtp.check(media.srtp, is_protected=False)
        row = self._choose_row(media, now_ns, is_port_shared)
        srtp.forget(self.worker, row)
        call = self.calls[row]
        tx, rx = call["tx"], call["rx"]
        generation = (now_ns << 8 | row & 0xFF) & 0x7FFF_FFFF_FFFF_FFFF
        for part in ("source", "rx", "tx", "voice", "key_press", "tones", "rtcp", "quality"):
            call[part] = np.zeros((), CALL[part])
        rooms.leave(call)
        voice_activity.start(call["voice"])
        echo.forget(self.worker.echo, row)
        rx["ssrc"] = rx["other_ssrc"] = -1
        tx["ssrc"], tx["seq"] = secrets.randbits(32), secrets.randbits(15)  # RFC 3550 5.1: random; seq low, so that it wraps late
        tx["timestamp"], tx["noise"], tx["marker"], tx["cursor"] = secrets.randbits(32), row, 1, -1
        call["sample_rate_hz"], call["captures"] = FORMATS[media.format].sample_rate_hz, 0
        self._prepare_reports(call["rtcp"], now_ns)
        self._describe(row, media, now_ns)
        tx["next_tx_ns"] = self._on_grid(row, now_ns)
        bridge = MAX_BRIDGES if bridge < 0 else bridge  # nobody's
        call["call_id"], call["bridge"], call["generation"], call["front"] = call_id.encode(), bridge, generation, front
        call["opened_ns"] = call["last_rx_ns"] = call["silence_told_ns"] = now_ns
        self._count_anew(row, call_id, generation, now_ns)
        self._populate(row)
        ring.open_row(self.worker.rings, row, generation, int(call["sample_rate_hz"]), bridge)
        if call["is_port_shared"]:
            shared_port.enter(self.worker, row)
        call["state"] = OPEN  # last: a successor finds a call that is complete, or none
        self._by_call_id[call_id] = row
        self.regroup()
        return row

    def update(self, call_id: str, media: MediaDescription, now_ns: int) -> int | None:
        """A new offer/answer. The rings keep their sample rate; a codec of another one is converted. None: no such call."""
        row = self.find(call_id)
        if row is None:
            return None
        _check(media)
        srtp.check(media.srtp, is_protected=self.calls[row]["srtp"]["suite"] != srtp.CLEAR)
        call = self.calls[row]
        could_send, could_receive = bool(call["may_send"]), bool(call["may_receive"])
        if call["is_port_shared"]:
            if not self._has_room(row, media):
                where = f"{media.remote_host}:{media.remote_port}"
                raise NotAcceptable(f"{where} is the far end of another call on the same port, too; {TELL_APART}")
            shared_port.leave(self.worker, row)
        self._describe(row, media, now_ns)
        if call["is_port_shared"]:
            shared_port.enter(self.worker, row)
        if could_send != bool(call["may_send"]):
            self._tell(row, layout.HELD, 1 if could_send else 0, now_ns)
        if call["may_receive"] and not could_receive:
            call["rx"]["is_started"] = 0  # what was sent meanwhile was not lost: the stream begins anew
        return row

    def take_key(self, call_id: str, key: str, now_ns: int) -> bool:
        """A key that came by SIP INFO, in its place among what was heard so far. False: it is told already, or there is no such call."""
        row = self.find(call_id)
        event = telephone_event.KEYS.tobytes().find(key.encode()) if len(key) == 1 else -1
        if row is None or event < 0 or not telephone_event.is_news(self.calls[row]["key_press"], event, telephone_event.BY_INFO, now_ns):
            return False
        jitter_buffer.publish_key(self.worker, row, ord(key), 0, now_ns)
        return True

    def record(self, call_id: str, state: str) -> bool:
        """"on", "off" or "pause". False: there is no such call."""
        row = self.find(call_id)
        if row is not None:
            tape.turn(self.worker, row, TAPES[state])
        return row is not None

    def capture(self, call_id: str, is_encrypted: bool, now_ns: int) -> bool:
        """For the next ten seconds. False: there is no such call."""
        row = self.find(call_id)
        if row is not None:
            capture.start(self.worker, row, capture.WIRE if is_encrypted else capture.CLEAR, now_ns)
        return row is not None

    def close(self, call_id: str, now_ns: int) -> dict[str, int] | None:
        """End a call's media; its counters. None: no such call, or closed before."""
        row = self._by_call_id.pop(call_id, None)
        if row is None:
            return None
        call = self.calls[row]
        self._tell(row, layout.CLOSED, 0, now_ns)
        tape.turn(self.worker, row, layout.TAPE_OFF)
        if call["rtcp_fd"] >= 0:
            rtcp.say_bye(self.worker, row, now_ns)
        call["state"], call["closed_ns"] = QUIET, now_ns
        srtp.forget(self.worker, row)
        rooms.leave(call)
        g729.forget(call["g729"])
        values = self.worker.shown[row]["counters"]
        result = {name: int(values[column]) for column, (name, _) in enumerate(CALL_COUNTERS)}
        self.worker.shown[row]["call_id"] = b""
        self.regroup()
        return result

    def release_quiet(self, now_ns: int) -> int:
        """Free the rows whose ports have been silent long enough; how many."""
        mine = slice(self.first, self.first + self.count)
        calls = self.calls[mine]
        quiet_since = np.maximum(calls["last_datagram_ns"], calls["closed_ns"])
        is_over = (now_ns - quiet_since >= self.port_quiet_ns) | (now_ns - calls["closed_ns"] >= QUIET_AT_MOST_NS)
        freed = np.flatnonzero((calls["state"] == QUIET) & is_over)
        for row in freed + self.first:
            ring.begin(self.worker.rings.words, row, 0)
            if self.calls[row]["is_port_shared"]:
                shared_port.leave(self.worker, row)
        calls["state"][freed] = FREE
        return int(freed.size)

    def silent(self, now_ns: int, at_start_ns: int, running_ns: int, held_ns: int) -> list[tuple[str, int]]:
        """Calls whose far end has sent nothing for too long, each told once a limit: (call_id, silent milliseconds).

        A call on hold, whichever way, has a limit of its own: it is silent for long, but its far end may have died.
        """
        mine = slice(self.first, self.first + self.count)
        calls, received = self.calls[mine], self.worker.shown["counters"][mine, CALL_COLUMN["packets_received"]]
        is_held = (calls["may_send"] == 0) | (calls["may_receive"] == 0)
        limit = np.where(is_held, held_ns, np.where(received > 0, running_ns, at_start_ns))
        silent_ns = now_ns - calls["last_rx_ns"]
        is_silent = (calls["state"] == OPEN) & (silent_ns >= limit) & (now_ns - calls["silence_told_ns"] >= limit)
        found = np.flatnonzero(is_silent)
        calls["silence_told_ns"][found] = now_ns
        return [(bytes(calls[row]["call_id"]).decode(), int(silent_ns[row]) // MS) for row in found]

    def close_of_other_fronts(self, front: int, now_ns: int) -> int:
        """A front began that does not know the calls of the one before: nobody could end them, so they end now. How many."""
        orphans = [call_id for call_id, row in self._by_call_id.items() if int(self.calls[row]["front"]) != front]
        for call_id in orphans:
            self.close(call_id, now_ns)
        return len(orphans)

    def place(self, room_id: str, parties: tuple[Party, ...], now_ns: int) -> None:
        """Who hears whom: media_workers/rooms.py."""
        rooms.place_parties(self, room_id, parties, now_ns)

    def open_rows(self) -> npt.NDArray[np.int64]:
        return self.first + np.flatnonzero(self.calls["state"][self.first : self.first + self.count] == OPEN)

    def regroup(self) -> None:
        """Tell the duty cycle which rows to look at in which millisecond, and which are together."""
        groups, rows = self.worker.groups, self.open_rows()
        groups[:, 0] = 0
        rooms.number_rooms(self.worker, rows)
        for group in range(GROUPS):
            members: npt.NDArray[np.int64] = rows[rows % GROUPS == group]
            groups[group, 1 : 1 + members.size] = members
            groups[group, 0] = members.size
        self.worker.totals[0, WORKER["calls_open"]] = rows.size

    def _populate(self, row: int) -> None:
        """Have the pages that a call of this rate uses there before its first packet."""
        rings, frame_samples = self.worker.rings, int(self.calls[row]["sample_rate_hz"]) * layout.FRAME_MS // 1000
        for part in (rings.words[row], rings.to_ai[row], rings.from_ai[row]):
            segment.populate(part)
        segment.populate(rings.to_ai_pcm[row, : layout.TO_AI_SLOTS * frame_samples])
        segment.populate(rings.from_ai_pcm[row, : layout.FROM_AI_SLOTS * frame_samples])

    def _choose_row(self, media: MediaDescription, now_ns: int, is_port_shared: bool) -> int:
        """On the shared port if that is wanted and can be, else with a port of its own."""
        if is_port_shared:
            row = self._free_row(now_ns, is_port_shared=True)
            if row is not None and self._has_room(row, media):
                return row
        row = self._free_row(now_ns, is_port_shared=False)
        if row is not None:
            return row
        mine = self.calls[self.first : self.first + self.count]
        states = mine["state"][mine["is_port_shared"] == 0]
        quiet = int((states == QUIET).sum())
        raise Exhausted(
            f"worker {self.index} has no free RTP port: {states.size - quiet} in use, {quiet} not yet silent since the call before;"
            " widen media.rtp_ports" + (f". The shared port cannot take the call: it is full, or {TELL_APART}" if is_port_shared else "")
        )

    def _free_row(self, now_ns: int, is_port_shared: bool) -> int | None:
        """The one that has been free for longest."""
        mine = self.calls[self.first : self.first + self.count]
        is_right = (mine["is_port_shared"] != 0) == is_port_shared
        free = np.flatnonzero(is_right & (mine["state"] == FREE))
        if free.size == 0 and self.release_quiet(now_ns):
            free = np.flatnonzero(is_right & (mine["state"] == FREE))
        return int(self.first + free[np.argmin(mine["closed_ns"][free])]) if free.size else None

    def _has_room(self, row: int, media: MediaDescription) -> bool:
        """May this far end be on the shared port: can it be told from the others there?"""
        address = shared_port.address_words(media.remote_host, media.remote_port)
        ssrc = media.remote_ssrc if media.remote_ssrc >= 0 else shared_port.ANY
        return not address[0] or bool(shared_port.has_room(self.worker, row, address, ssrc))

    def _describe(self, row: int, media: MediaDescription, now_ns: int) -> None:
        format, call = FORMATS[media.format], self.calls[row]
        if call["state"] != OPEN or call["codec_id"] != format.codec_id:
            call["codec"], call["rx"]["is_started"] = codecs.fresh(), 0
            g729.forget(call["g729"])
            if format.codec_id == codecs.G729:
                g729.start(call["g729"])
            if format.codec_id == codecs.OPUS:
                opus.start(call["opus"], media.fmtp, int(call["sample_rate_hz"]), self.opus_settings)
        elif format.codec_id == codecs.OPUS:
            opus.configure(call["opus"], media.fmtp, self.opus_settings)
        call["codec_id"], call["payload_type"] = format.codec_id, media.payload_type
        call["rtp_clock_hz"], call["codec_rate_hz"] = format.rtp_clock_hz, format.sample_rate_hz
        call["dtmf_payload_type"], call["comfort_noise_payload_type"] = media.dtmf_payload_type, media.comfort_noise_payload_type
        call["sends_noise"] = self.comfort_noise and media.comfort_noise_payload_type >= 0
        call["packet_samples"] = int(call["sample_rate_hz"]) * media.ptime_ms // 1000
        call["may_send"] = media.direction in ("sendrecv", "sendonly")
        if media.direction in ("sendrecv", "recvonly") and not call["may_receive"]:
            call["last_rx_ns"] = now_ns  # what it was silent on hold does not count
        call["may_receive"] = media.direction in ("sendrecv", "recvonly")
        if media.remote_ssrc >= 0 or not media.srtp or call["state"] != OPEN:  # else: what its keys have proved holds
            call["remote_ssrc"] = media.remote_ssrc if media.remote_ssrc >= 0 else shared_port.ANY
        if media.srtp:
            srtp.set_keys(self.worker, row, media.srtp, now_ns)
        source.signal(call["source"], media.remote_host, media.remote_port, now_ns)
        reports, port = call["rtcp"], media.remote_rtcp_port or media.remote_port + 1
        if reports["port"] != port:
            reports["sockaddr_bytes"] = 0  # where it came from before was another one
        reports["port"], reports["is_muxed"] = port, media.has_rtcp_mux
        listens = self.inband_dtmf and media.dtmf_payload_type < 0
        if listens != bool(call["tones"]["is_on"]):
            call["tones"] = np.zeros((), TONES)
            if listens:
                dtmf_tone.start(call["tones"], int(call["sample_rate_hz"]))
        equipment = quality.EQUIPMENT.get(media.format, quality.UNLISTED)
        call["quality"]["impairment"], call["quality"]["robustness"] = equipment

    def _prepare_reports(self, reports: np.void, now_ns: int) -> None:
        reports["interval_ns"], reports["seed"], reports["last_ns"] = self.rtcp_interval_ns, secrets.randbits(31), now_ns
        reports["cname"] = np.frombuffer(base64.b64encode(secrets.token_bytes(12)), np.uint8)
        # The first is due after half the interval, but may be drawn for earlier.
        reports["next_ns"] = now_ns + self.rtcp_interval_ns // 5 if self.rtcp_interval_ns else rtcp.NEVER

    def _on_grid(self, row: int, now_ns: int) -> int:
        """The first sending time: in the row's own millisecond of twenty, so that calls are spread evenly."""
        period = 2 * GROUPS
        phase = row % period
        ms = now_ns // MS + 1
        return (ms + (phase - ms) % period) * MS

    def _tell(self, row: int, kind: int, value: int, now_ns: int) -> None:
        """An event to the agent. From Python, between two cycles, so the worker is still the only writer."""
        position = int(self.calls[row]["rx"]["position"])
        ring.publish(self.worker.rings, row, kind, 0, 0, self.worker.own[0]["pcm"], 0, 0, position, 0, 0, value, now_ns)
        self.worker.own[0]["rung"][int(self.calls[row]["bridge"])] = 1

    def _count_anew(self, row: int, call_id: str, generation: int, now_ns: int) -> None:
        shown = self.worker.shown[row]
        shown["counters"] = 0
        shown["counters"][CALL_COLUMN["opened_ns"]] = now_ns
        shown["generation"], shown["worker"], shown["rtp_port"] = generation, self.index, self.calls[row]["rtp_port"]
        shown["call_id"] = call_id.encode()


def _recount_held(rx: np.void) -> None:
    """Make a jitter buffer true again whose worker was killed between two of its stores: a count that lies would hang the next."""
    slots, expected = rx["held_index"], rx["expected"]
    is_right = (slots >= expected) & (slots < expected + SLOTS) & (slots % SLOTS == np.arange(SLOTS))
    slots[~is_right] = 0
    rx["held"] = np.count_nonzero(slots)
    if rx["held"] == 0:
        rx["gap_since_ns"] = 0


def _check(media: MediaDescription) -> None:
    if media.format not in FORMATS:
        raise NotAcceptable(f"no such format: {media.format}")
    if media.format == "OPUS" and not libopus.IS_THERE:
        raise NotAcceptable(opus_library.REMEDY)
    if media.format == "G729" and not libbcg729.is_there():
        raise NotAcceptable(g729_library.REMEDY)
    ptimes_ms = FORMATS[media.format].ptimes_ms
    if media.ptime_ms not in ptimes_ms:
        raise NotAcceptable(f"{media.format} is not sent in packets of {media.ptime_ms} ms; {', '.join(map(str, ptimes_ms))} can be")
