"""The path of a frame, on one screen. Compiled, without the GIL, making its own system calls.

`run` goes round until Python is needed: a message on the control channel, the time for housekeeping, or a
successor. One pass takes what has come in, sends what is due, and wakes the bridges that got something.
"""

from media_workers import batch, capture, jitter_buffer, playout, rooms, rtcp, rtp, send_queue, shared_port, sockets, source, srtp
from media_workers.call_table import GROUPS, OPEN
from shm import doorbell
from shm.atomics import load_acquire, store_release
from shm.counters import CALL_COLUMN, WORKER
from shm.jit import njit

CONTROL, HOUSEKEEPING, FENCED = range(3)
"""Why `run` returned."""
MS = 1_000_000
BATCHES_AT_ONCE = 4
"""Of the shared port in one pass: a quarter of a millisecond, so that what is due is sent in between."""

RECEIVED, MALFORMED, WRONG_SOURCE = (WORKER[n] for n in ("packets_received", "malformed", "wrong_source"))
CYCLES, BUSY, HEARTBEAT = WORKER["cycles"], WORKER["busy_ns"], WORKER["heartbeat_ns"]
GENERATION, DOORBELLS, SEND_FAILURES = WORKER["generation"], WORKER["doorbells"], WORKER["send_failures"]
CALL_RECEIVED, CALL_BYTES = CALL_COLUMN["packets_received"], CALL_COLUMN["bytes_received"]
CALL_MALFORMED, CALL_WRONG_SOURCE, LAST_RX = (CALL_COLUMN[n] for n in ("malformed", "wrong_source", "last_rx_ns"))


@njit
def run(worker, epoll_fd, generation, until_ns):
    """Go round; returns CONTROL, HOUSEKEEPING or FENCED."""
    clock, events, totals = worker.own[0]["clock"], worker.own[0]["events"], worker.totals
    now = sockets.now_ns(clock)
    last_ms = worker.own[0]["served_ms"]  # what became due while Python ran is served at once
    while True:
        count = sockets.wait(epoll_fd, events, clock, _time_to_wait(worker, now, last_ms, until_ns))
        woke = sockets.now_ns(clock)
        store_release(totals, 0, HEARTBEAT, woke)
        if load_acquire(totals, 0, GENERATION) != generation:
            return FENCED

        is_control = take_packets(worker, count, woke)
        last_ms = send_due(worker, last_ms, woke)
        worker.own[0]["served_ms"] = last_ms
        ring_bells(worker)

        now = sockets.now_ns(clock)
        totals[0, CYCLES] += 1
        totals[0, BUSY] += now - woke
        if is_control:
            return CONTROL
        if now >= until_ns:
            return HOUSEKEEPING


@njit
def take_packets(worker, count, now):
    """Everything that came in: one datagram a ready socket, batches from a shared one; what is left is reported again at once."""
    own = worker.own[0]
    is_control = False
    for i in range(count):
        data = sockets.event_data(own["events"], i)
        if data == sockets.CONTROL_EVENT:
            is_control = True
        elif data == sockets.SHARED_EVENT:
            take_batches(worker, now)
        elif data == sockets.SHARED_RTCP_EVENT:
            take_shared_report(worker, now)
        elif data & 1:
            take_report(worker, data >> 1, now)
        else:
            take_packet(worker, data >> 1, now)
    return is_control


@njit
def take_report(worker, row, now):
    """Read a datagram from the RTCP port."""
    own, call = worker.own[0], worker.calls[row]
    size = sockets.receive(call["rtcp_fd"], own["packet"], own["sockaddr"], own["sockaddr_bytes"])
    if size >= 0:
        source.read_sockaddr(own["sockaddr"], own["address"])
        take_report_of(worker, row, size, now)


@njit
def take_report_of(worker, row, size, now):
    """The datagram in `own["packet"]` came to the RTCP port, and may be of this call."""
    if worker.calls[row]["state"] == OPEN:
        capture.write_received(worker, row, size, True, capture.WIRE, now)
        rtcp.take(worker, row, size, False, now)


@njit
def take_shared_report(worker, now):
    """Read a datagram from the RTCP port that calls share."""
    own = worker.own[0]
    size = sockets.receive(own["shared_rtcp_fd"], own["packet"], own["sockaddr"], own["sockaddr_bytes"])
    if size < 0:
        return
    source.read_sockaddr(own["sockaddr"], own["address"])
    ssrc = rtp.read_u32(own["packet"], 4) if size >= 8 else shared_port.ANY
    row = shared_port.find(worker.table, own["address"], shared_port.RTCP_KIND, ssrc)
    if row == shared_port.NOBODY:
        worker.totals[0, WRONG_SOURCE] += 1
    else:
        take_report_of(worker, row, size, now)


@njit
def take_batches(worker, now):
    """Read what lies at the RTP port that calls share, and give each datagram to its call."""
    own, received = worker.own[0], worker.rx_batch[0]
    for _ in range(BATCHES_AT_ONCE):
        count = batch.receive(own["shared_fd"], received)
        for i in range(count):
            size = batch.take(received, i, own)
            source.read_sockaddr(own["sockaddr"], own["address"])
            ssrc = shared_port.ANY
            if size >= rtp.HEADER_BYTES:
                ssrc = rtp.read_u32(own["packet"], 4 if rtp.is_rtcp(own["packet"]) else 8)
            row = shared_port.find(worker.table, own["address"], 0, ssrc)
            if row != shared_port.NOBODY:
                take_datagram(worker, row, size, now)
            else:
                worker.totals[0, RECEIVED] += 1
                worker.totals[0, WRONG_SOURCE] += 1
        if count < batch.PACKETS:
            return


@njit
def take_packet(worker, row, now):
    """Read a datagram from a call's own port."""
    own, call = worker.own[0], worker.calls[row]
    size = sockets.receive(call["rtp_fd"], own["packet"], own["sockaddr"], own["sockaddr_bytes"])
    if size >= 0:
        source.read_sockaddr(own["sockaddr"], own["address"])
        take_datagram(worker, row, size, now)


@njit
def take_datagram(worker, row, size, now):
    """Check the datagram in `own["packet"]`, from `own["address"]`, that may be of this call, and hand its audio on."""
    own, call, counters = worker.own[0], worker.calls[row], worker.shown[row]["counters"]
    packet = own["packet"]
    worker.totals[0, RECEIVED] += 1
    if call["state"] != OPEN:
        if source.is_of_call(call["source"], own["address"]):  # a stranger's packets do not keep the port from others
            call["last_datagram_ns"] = now
        return
    capture.write_received(worker, row, size, False, capture.WIRE, now)
    if rtp.is_rtcp(packet):
        rtcp.take(worker, row, size, True, now)
        return
    size = srtp.unprotect(worker, row, size, now)
    if size < 0:
        return
    capture.write_received(worker, row, size, False, capture.CLEAR, now)
    start = rtp.payload_start(packet, size)
    end = rtp.payload_end(packet, size, start) if start >= 0 else rtp.WRONG
    if end < 0:
        worker.totals[0, MALFORMED] += 1
        counters[CALL_MALFORMED] += 1
        return
    if not is_from_far_end(worker, row, now):
        worker.totals[0, WRONG_SOURCE] += 1
        counters[CALL_WRONG_SOURCE] += 1
        return
    counters[CALL_RECEIVED] += 1
    counters[CALL_BYTES] += end - start
    counters[LAST_RX] = now
    call["last_rx_ns"] = now
    if call["may_receive"] == 0:
        return
    seq, timestamp, ssrc = rtp.read_u16(packet, 2), rtp.read_u32(packet, 4), rtp.read_u32(packet, 8)
    jitter_buffer.insert(worker, row, start, end - start, rtp.payload_type(packet), seq, timestamp, ssrc, now)


@njit
def is_from_far_end(worker, row, now):
    """May the RTP packet at hand be heard? The call learns its far end's address on the way, and so does the shared port's table."""
    own, call = worker.own[0], worker.calls[row]
    for i in range(3):
        own["locked"][i] = call["source"]["locked"][i]
    is_protected, is_heard = call["srtp"]["suite"] != srtp.CLEAR, True
    if is_protected:
        source.follow(call["source"], own["address"], own["sockaddr"], own["sockaddr_bytes"][0], own["is_newest"] != 0)
    else:
        seq = rtp.read_u16(own["packet"], 2)
        is_heard = source.accept(call["source"], own["address"], own["sockaddr"], own["sockaddr_bytes"][0], seq, now)
    if call["is_port_shared"] != 0:
        shared_port.follow_lock(worker, row, own["locked"])
        if is_protected and own["is_newest"] != 0:
            shared_port.follow_ssrc(worker, row, rtp.read_u32(own["packet"], 8))
    return is_heard


@njit
def send_due(worker, last_ms, now):
    """Serve the groups whose millisecond has come; returns the millisecond served last."""
    ms = now // MS
    for passed in range(max(last_ms + 1, ms - GROUPS + 1), ms + 1):
        group = worker.groups[passed % GROUPS]
        for i in range(1, group[0] + 1):
            serve(worker, group[i], now)
    if worker.queue.batch[0]["count"] > 0:
        worker.totals[0, SEND_FAILURES] += send_queue.flush(worker.queue)
    return max(ms, last_ms)


@njit
def serve(worker, row, now):
    """One call's turn: give up what will not come, send what is due."""
    call = worker.calls[row]
    if call["rx"]["gap_since_ns"] != 0:
        jitter_buffer.expire(worker, row, now)
    if call["rx"]["is_started"] != 0 and now >= call["rx"]["fill_at_ns"]:
        jitter_buffer.fill_silence(worker, row, now)
    if now >= call["rtcp"]["next_ns"]:
        rtcp.report(worker, row, now)
    if rooms.hears(call["place"]):
        rooms.tell_agent(worker, row, now)
    tx, target = call["tx"], call["source"]
    if now < tx["next_tx_ns"]:
        return
    playout.skip_if_too_late(worker, row, now)
    while now >= tx["next_tx_ns"]:
        if call["may_send"] == 0 or target["sockaddr_bytes"] == 0:
            playout.stay_silent(worker, row, now)
            continue
        size = playout.build(worker, row, now)
        if size == playout.NOTHING:
            playout.leave_out(call)
            continue
        capture.write_sent(worker, row, size, False, target["sockaddr"], capture.CLEAR, now)
        size = srtp.protect(worker, row, size)
        capture.write_sent(worker, row, size, False, target["sockaddr"], capture.WIRE, now)
        if size < 0:
            worker.totals[0, SEND_FAILURES] += 1
        elif send_queue.add(
            worker.queue, call["rtp_fd"], worker.own[0]["packet"], size, target["sockaddr"], target["sockaddr_bytes"]
        ):
            worker.totals[0, SEND_FAILURES] += send_queue.flush(worker.queue)
        playout.account(worker, row, now)


@njit
def ring_bells(worker):
    """Wake the bridges that got something and sleep: once a pass, whatever they got."""
    own = worker.own[0]
    for bridge in range(own["bridges"]):
        if own["rung"][bridge] != 0:
            own["rung"][bridge] = 0
            if doorbell.must_ring(worker.rings.bells, bridge):
                sockets.ring_bell(own["bell_fds"][bridge])
                worker.totals[0, DOORBELLS] += 1


@njit
def _time_to_wait(worker, now, last_ms, until_ns):
    """Until the next group that has calls, in nanoseconds; 0 if it is due already."""
    for ahead in range(1, GROUPS + 1):
        if worker.groups[(last_ms + ahead) % GROUPS, 0] > 0:
            return max(0, min(until_ns, (last_ms + ahead) * MS) - now)
    return max(0, until_ns - now)
