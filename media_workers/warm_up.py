"""Compile everything that a worker runs, by running it once on a call that nobody hears."""

import os
import select
import time

from control_plane.messages import MediaDescription, Party
from media_workers import duty_cycle, jitter_buffer, rtcp
from media_workers.call_table import make_worker, table_bytes, table_views
from media_workers.rows import Rows
from shm import counters, layout, ring


def compile_all() -> None:
    """Takes seconds the first time, a moment once the machine code is in the cache."""
    count = 2
    rings = layout.rings_format(bytearray(layout.rings_bytes(count)), count)
    views = counters.counters_format(bytearray(counters.counters_bytes(1, count)), 1, count)
    calls = table_views(bytearray(table_bytes(count)), count)
    calls["rtp_fd"] = calls["rtcp_fd"] = -1
    calls["is_port_shared"][1] = 1
    worker = make_worker(calls, rings, views, 0, count, [-1])
    rows = Rows(worker, 0, count, 0)
    now = time.monotonic_ns()
    row = rows.open("warm-up", 0, MediaDescription("PCMU", 0, "127.0.0.1", 9), now)
    rows.record("warm-up", "on")
    ring.set_turn(rings.words, row, 1)
    with select.epoll() as epoll:
        duty_cycle.run(worker, epoll.fileno(), 0, now + 1_000_000)
    # What Python asks for between two cycles: a worker that compiled it then would be taken for hung, and so would its successors.
    rows.update("warm-up", MediaDescription("PCMU", 0, "127.0.0.1", 9, direction="sendonly"), now)
    rows.take_key("warm-up", "1", now)
    rtcp.say_bye(worker, row, now)
    jitter_buffer.packet_index(1, 1)  # of a call whose SRTP keys change
    rows.open("sharing", 0, MediaDescription("PCMU", 0, "127.0.0.1", 9, remote_ssrc=7), now, is_port_shared=True)
    rows.update("sharing", MediaDescription("PCMU", 0, "127.0.0.1", 11, remote_ssrc=7), now)
    rows.place("room", (Party("warm-up", agent="talk"), Party("sharing")), now)
    rows.close("sharing", now)
    rows.close("warm-up", now)
    rows.release_quiet(now + 1)


if __name__ == "__main__":
    started = time.monotonic()
    compile_all()
    print(f"kernels ready after {time.monotonic() - started:.1f} s (process {os.getpid()})")
