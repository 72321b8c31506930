"""An agent interrupts itself at random moments and speaks on at once. Does it know what was heard, and is the old turn silent?

Every eight samples on the wire say which turn they are of and which of its samples: four µ-law codes each, which survive
decoding and encoding. The recording of each call, packet by packet, is read afterwards: a turn's samples in order and
without a hole, none of an older turn once a newer one began, and their number against what the agent was told.
"""

import asyncio
import json
import os
import pathlib
import random
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ai_bridge import Agent, Call
from bench.callers import Callers
from bench.server import OTHER_CORE, running
from control_plane.g711 import ULAW_TO_PCM

CALLS, ROUNDS = 40, 250
FOLDER = "BELLFRAME_BENCH_TURNS"
"""The environment says where agents leave what they were told."""
LONGEST_S, LONGEST_PAUSE_S = 1.0, 0.5
CODE, DIGIT_BITS, DIGITS, GROUP = 0x80, 6, 4, 8  # codes 0x80 to 0xBF: each has a value of its own, and comfort noise has none of them
PERIOD_S, SILENT_CODE, RECEIVE_BUFFER_BYTES = 0.02, 0xFF, 1 << 20


def digits(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    shifts = DIGIT_BITS * np.arange(DIGITS)
    return (CODE + (numbers[:, None] >> shifts & (1 << DIGIT_BITS) - 1)).astype(np.uint8)


def speech(turn: int, samples: int) -> npt.NDArray[np.int16]:
    """That says of itself what it is. A multiple of GROUP samples."""
    groups = np.arange(samples // GROUP)
    codes = np.concatenate((digits(np.full_like(groups, turn)), digits(groups)), axis=1)
    return ULAW_TO_PCM[codes.ravel()]


def read(payload: bytes) -> npt.NDArray[np.int64]:
    """(groups, 2): turn and number of each group of samples; -1 for what is no speech of ours."""
    codes = np.frombuffer(payload, np.uint8).reshape(-1, GROUP).astype(np.int64) - CODE
    numbers = (codes.reshape(-1, 2, DIGITS) << DIGIT_BITS * np.arange(DIGITS)).sum(axis=2)
    numbers[((codes < 0) | (codes >= 1 << DIGIT_BITS)).any(axis=1)] = -1
    return numbers


class Interrupter(Agent):
    def on_start(self, call: Call) -> None:
        call.spawn(self.talk(call))

    async def talk(self, call: Call) -> None:
        folder = pathlib.Path(os.environ[FOLDER])
        rounds, chance = int((folder / "rounds").read_text()), random.Random(call.caller)
        said = []
        for number in range(rounds):
            if number:
                call.new_turn()
                if chance.random() < 0.2:
                    await asyncio.sleep(chance.uniform(0, 0.1))  # silence; else the next word follows the flush in the same breath
            said.append(call.say(speech(number, GROUP * chance.randrange(1, int(LONGEST_S * 8_000) // GROUP))))
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_S))
        call.new_turn()
        heard = [(await utterance, utterance.heard_samples, utterance.was_interrupted)[1:] for utterance in said]
        (folder / f"{call.call_id}.part").write_text(json.dumps({"caller": call.caller, "heard": heard}))
        (folder / f"{call.call_id}.part").rename(folder / f"{call.call_id}.json")


class Recorder:
    """Callers who are silent, and keep every packet. What Callers needs of a generator."""

    def __init__(self, calls: int) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(calls)]
        self.packets: list[list[bytes]] = [[] for _ in range(calls)]
        self.targets: dict[int, int] = {}
        self.epoll = select.epoll()
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
            self.epoll.register(one.fileno(), select.EPOLLIN)
        self.by_fd = {one.fileno(): i for i, one in enumerate(self.sockets)}
        self.sent = 0

    def local_port(self, i: int) -> int:
        return int(self.sockets[i].getsockname()[1])

    def set_target(self, i: int, port: int) -> None:
        self.targets[i] = port

    def run(self, is_over: Callable[[], bool], limit_s: float) -> None:
        """Raises RuntimeError if it is not over in time."""
        begun = due = time.monotonic()
        while not is_over():
            if time.monotonic() - begun > limit_s:
                raise RuntimeError(f"the agents have not finished within {limit_s:g} s")
            for i, port in self.targets.items():
                head = (0x8000_0000 | self.sent & 0xFFFF).to_bytes(4) + (self.sent * 160).to_bytes(4) + (i + 1).to_bytes(4)
                self.sockets[i].sendto(head + bytes([SILENT_CODE]) * 160, ("127.0.0.1", port))
            self.sent += 1
            due += PERIOD_S
            while (left := due - time.monotonic()) > 0:
                for fd, _ in self.epoll.poll(left):
                    self._receive(self.by_fd[fd])

    def _receive(self, i: int) -> None:
        try:
            while True:
                octets = self.sockets[i].recv(2_048)
                if octets[1] & 0x7F == 0:
                    self.packets[i].append(octets)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.epoll.close()
        for one in self.sockets:
            one.close()


def judge(packets: list[bytes], heard: list[tuple[int, bool]]) -> dict[str, int]:
    """What one call's recording says of what its agent was told."""
    seqs = np.array([int.from_bytes(packet[2:4]) for packet in packets])
    found = np.concatenate([read(packet[12:]) for packet in packets])
    turns, groups = found[found[:, 0] >= 0].T
    newest = np.maximum.accumulate(turns)
    counted = np.bincount(turns, minlength=len(heard)) * GROUP
    holes = sum(int(np.any(groups[turns == turn] != np.arange(np.count_nonzero(turns == turn)))) for turn in range(len(heard)))
    return {
        "turns": len(heard),
        "interrupted": sum(was_interrupted for _, was_interrupted in heard),
        "told_wrong": int(np.count_nonzero(counted != np.array([samples for samples, _ in heard]))),
        "samples_of_an_old_turn": GROUP * int(np.count_nonzero(turns < newest)),
        "turns_with_a_hole": holes,
        "packets": len(packets),
        "packets_missing": int(np.count_nonzero(np.diff(seqs) % 65_536 != 1)),
    }


def measure(calls: int = CALLS, rounds: int = ROUNDS) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "rounds").write_text(str(rounds))
        os.environ[FOLDER] = name
        with running("bench.turns:Interrupter", calls) as server:
            recorder = Recorder(calls)
            callers = Callers(server, recorder)  # type: ignore[arg-type]
            callers.open(calls)
            recorder.run(lambda: len(list(folder.glob("*.json"))) == calls, 60 + rounds * LONGEST_PAUSE_S)
            callers.close()
            recorder.close()
        told = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    total: dict[str, int] = {}
    for report in told:
        i = int(report["caller"].partition("caller")[2].partition("@")[0])
        for key, value in judge(recorder.packets[i], report["heard"]).items():
            total[key] = total.get(key, 0) + value
    return {"calls": calls, **total}


answer = measure


def test_turns(benchmark):
    found = benchmark.pedantic(measure, (4, 25), rounds=1)
    assert (found["turns"], found["told_wrong"], found["samples_of_an_old_turn"], found["turns_with_a_hole"]) == (100, 0, 0, 0)


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    print(answer(*(int(n) for n in sys.argv[1:])))
