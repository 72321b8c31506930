"""A bot on our own wire that fails: it echoes, stands still for a while now and then, and may be killed.

    python -m bench.faulty_bot --folder DIR --core N [--every-s 5 --stall-s 1]

As servers of bots do it, one process holds the port and forks another that serves, and the next one when that dies. It prints the
port. Each frame that comes is written down in DIR/PID.npy at once, where a SIGKILL does not reach.
"""

import argparse
import asyncio
import json
import os
import pathlib
import socket
import struct
import sys
import time
from typing import Any

import numpy as np
import picows
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

MOST = 1_000_000
HEADER = struct.Struct("<IIQ")  # turn, flags, position
ARRIVAL = np.dtype([("caller", "i4"), ("samples", "i4"), ("position", "i8"), ("at_ns", "i8")])
READY = json.dumps({"type": "ready", "version": 1, "rate_hz": 8_000}).encode()
PROTOCOL = {"Sec-WebSocket-Protocol": "bellframe.v1"}
BACKLOG = 1024


class Arrivals:
    """Rows of a file; those that nothing came for have no time."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.rows: np.ndarray[Any, np.dtype[np.void]] = np.lib.format.open_memmap(folder / f"{os.getpid()}.npy", "w+", ARRIVAL, (MOST,))
        self.count = 0

    def note(self, caller: int, samples: int, position: int) -> None:
        if self.count < MOST:
            self.rows[self.count] = (caller, samples, position, time.monotonic_ns())
            self.count += 1


class Bot(WSListener):
    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals, self.caller = arrivals, -1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            message = frame.get_payload_as_bytes()
            turn, _, position = HEADER.unpack_from(message)
            self.arrivals.note(self.caller, (len(message) - HEADER.size) // 2, position)
            transport.send(WSMsgType.BINARY, HEADER.pack(turn, 0, 0) + message[HEADER.size :])
        elif frame.msg_type is WSMsgType.TEXT:
            told = json.loads(frame.get_payload_as_bytes())
            if told["type"] == "start":
                self.caller = int(told["caller"].removeprefix("caller"))
                transport.send(WSMsgType.TEXT, READY)
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


async def serve(listening: socket.socket, folder: pathlib.Path, every_s: float, stall_s: float) -> None:
    arrivals = Arrivals(folder)

    def accept(_: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(PROTOCOL), Bot(arrivals))

    await picows.ws_create_server(accept, sock=listening, logger_name="quiet")
    while True:
        await asyncio.sleep(every_s - stall_s)
        time.sleep(stall_s)  # noqa: ASYNC251  (that is the fault)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--every-s", type=float, default=5.0)
    parser.add_argument("--stall-s", type=float, default=0.0)
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.core})
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
        print(listening.getsockname()[1], flush=True)
        parent = os.getpid()
        while True:
            serving = os.fork()
            if serving == 0:
                uvloop.run(serve(listening, given.folder, given.every_s, given.stall_s))
            os.waitpid(serving, 0)
            if os.getppid() == 1 or parent != os.getpid():
                sys.exit()


if __name__ == "__main__":
    main()
