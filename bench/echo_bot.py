"""A bot for the load: echoes on the Twilio wire, as cheaply as Python can, and remembers when each frame came.

    python -m bench.echo_bot --core N

It prints its port. A line on its input is a file's name: the arrivals so far go there, and are forgotten.
"""

import argparse
import asyncio
import base64
import os
import sys
import time

import numpy as np
import picows
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest

MOST = 4_000_000
STAMP = 4  # octets of µ-law that number a frame, see load_generator.py
PAYLOAD, CALLER = b'"payload":"', b'"from_number":"caller'

ARRIVAL = np.dtype([("caller", "i4"), ("stamp", "i4"), ("at_ns", "i8")])


class Arrivals:
    def __init__(self) -> None:
        self.rows, self.count = np.zeros(MOST, ARRIVAL), 0

    def save(self, path: str) -> None:
        np.save(path, self.rows[: self.count])
        self.count = 0


class EchoBot(WSListener):
    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self.caller = -1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.TEXT:
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        at = message.find(PAYLOAD)
        if at < 0:
            if CALLER in message:
                self.caller = int(message.partition(CALLER)[2].partition(b'"')[0])
            return
        transport.send(WSMsgType.TEXT, b'{"event":"media","media":{' + message[at : message.index(b"}", at)] + b"}}")
        arrivals = self.arrivals
        if arrivals.count < MOST:
            codes = base64.b64decode(message[at + len(PAYLOAD) : at + len(PAYLOAD) + 8])[:STAMP]
            stamp = sum((code & 0x3F) << (6 * digit) for digit, code in enumerate(codes))
            arrivals.rows[arrivals.count] = (self.caller, stamp, time.monotonic_ns())
            arrivals.count += 1


async def serve() -> None:
    arrivals, loop, ended = Arrivals(), asyncio.get_running_loop(), asyncio.Event()

    def accept(_: WSUpgradeRequest) -> EchoBot:
        return EchoBot(arrivals)

    def ordered() -> None:
        line = sys.stdin.readline()
        if not line:
            ended.set()
            return
        arrivals.save(line.strip())
        print("saved", flush=True)

    server = await picows.ws_create_server(accept, "127.0.0.1", 0, logger_name="quiet")
    loop.add_reader(sys.stdin.fileno(), ordered)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, required=True)
    os.sched_setaffinity(0, {parser.parse_args().core})
    uvloop.run(serve())
