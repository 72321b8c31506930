"""All callers of a soak in one process: sockets, the 20 ms clock, and a network that loses and reorders."""

import random
import select
import socket
import time

import numpy as np

from bench.soak.caller import LOWEST_HZ, MS, STEP_HZ, Caller, Figures, Line, Mix, State, Verdict, judge

TICK_NS = 20 * MS
SHORTEST_S, LONGEST_S = 10.0, 40.0
MAX_CALLERS = (3_400 - LOWEST_HZ) // STEP_HZ
STARTS_A_TICK = 2
"""A hundred calls a second at most."""


class Crowd:
    """`calls` callers, each on the telephone nearly all the time. `loss`, `reorder`: shares of the packets that they send."""

    def __init__(self, host: str, sip_port: int, calls: int, loss: float, reorder: float, seed: int, mix: Mix) -> None:
        assert calls <= MAX_CALLERS, f"the telephone band has room for {MAX_CALLERS} tones"
        self.random, self.loss, self.reorder = random.Random(seed), loss, reorder
        self.figures = Figures()
        self.sip = self._socket(host)
        self.sip.connect((host, sip_port))
        self.sockets = [self._socket(host) for _ in range(calls)]
        line = Line(host, self.sip.getsockname()[1], sip_port)
        self.callers = [Caller(i, line, one.getsockname()[1], self.figures, seed + i, mix) for i, one in enumerate(self.sockets)]
        self.by_fd = {one.fileno(): (one, caller) for one, caller in zip(self.sockets, self.callers, strict=True)}
        self.held: dict[int, bytes] = {}
        self.host, self.is_ending = host, False
        self.poll = select.epoll()
        for one in (self.sip, *self.sockets):
            self.poll.register(one.fileno(), select.EPOLLIN)
        self.next_ns = self.judge_ns = time.monotonic_ns()

    @staticmethod
    def _socket(host: str) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((host, 0))
        one.setblocking(False)
        return one

    @property
    def up(self) -> int:
        return sum(caller.state is State.UP for caller in self.callers)

    @property
    def busy(self) -> int:
        return sum(caller.state is not State.IDLE for caller in self.callers)

    def run(self, seconds: float) -> None:
        until_ns = time.monotonic_ns() + int(seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < until_ns:
            if now_ns >= self.next_ns:
                self._tick(now_ns)
                self.next_ns = max(self.next_ns + TICK_NS, now_ns - 10 * TICK_NS)
            for fd, _ in self.poll.poll(max(0.0, min(self.next_ns, until_ns) - time.monotonic_ns()) / 1e9):
                self._receive(fd)

    def end(self, limit_s: float) -> None:
        """Everybody hangs up."""
        self.is_ending, until = True, time.monotonic() + limit_s
        for caller in self.callers:
            caller.end_ns = 0
        while self.busy and time.monotonic() < until:
            self.run(0.1)

    def close(self) -> None:
        for one in (self.sip, *self.sockets):
            one.close()
        self.poll.close()

    def _tick(self, now_ns: int) -> None:
        starts = 0
        for one, caller in zip(self.sockets, self.callers, strict=True):
            if caller.state is State.IDLE and not self.is_ending and starts < STARTS_A_TICK:
                caller.start(now_ns, self.random.uniform(SHORTEST_S, LONGEST_S))
                starts += 1
            caller.expire(now_ns)
            if caller.state in (State.UP, State.ENDING) and caller.target:
                self._send(one, caller)
            self._send_sip(caller)
        if now_ns >= self.judge_ns:
            self.judge_ns = now_ns + 1_000 * MS
            self._judge()

    def _send(self, one: socket.socket, caller: Caller) -> None:
        packet, address = caller.next_packet(), (self.host, caller.target)
        before = self.held.pop(caller.number, None)
        if self.random.random() < self.loss:
            return
        if before is None and self.random.random() < self.reorder:
            self.held[caller.number] = packet
            return
        for octets in (packet,) if before is None else (packet, before):
            try:
                one.sendto(octets, address)
            except OSError:
                continue  # an ICMP error of a port that was closed while a process was replaced

    def _send_sip(self, caller: Caller) -> None:
        for octets in caller.outbox:
            try:
                self.sip.send(octets)
            except OSError:
                continue  # the front is being replaced: sent again
        caller.outbox.clear()

    def _receive(self, fd: int) -> None:
        try:
            if fd == self.sip.fileno():
                message = self.sip.recv(65_535).decode()
                number = int(message.lower().partition("call-id: soak-")[2].partition("-")[0])
                self.callers[number].receive_sip(message, time.monotonic_ns())
                self._send_sip(self.callers[number])
                return
            one, caller = self.by_fd[fd]
            packet, (_, port) = one.recvfrom(2048)
            caller.receive_rtp(packet, time.monotonic_ns(), port)
        except OSError:
            return

    def _judge(self) -> None:
        heard = [(caller, pcm) for caller in self.callers if (pcm := caller.take_second()) is not None]
        if not heard:
            return
        pitches = np.array([caller.pitch_hz for caller, _ in heard])
        for (caller, _), (verdict, loudest_hz) in zip(heard, judge(np.stack([pcm for _, pcm in heard]), pitches), strict=True):
            self.figures.seconds[verdict] += 1
            if verdict is Verdict.FOREIGN:
                self.figures.foreign.append(f"caller {caller.number} ({caller.pitch_hz} Hz) heard {loudest_hz} Hz")
