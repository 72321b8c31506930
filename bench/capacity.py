"""How many calls can this machine take? Measured here, not looked up: `bellframe capacity`.

A server of its own carries a few calls and then more, over the whole path; what each one more costs the worker is its price. Codecs
other than PCMU add what their encoding and decoding costs beyond PCMU's. Rated is half of what fits: the other half is for bursts,
for joining and recording, and for the day when a core is busy with something else. Run it while nothing else does.
"""

import argparse
import os
import pathlib
import sys
from typing import NamedTuple

import orjson

from control_plane.formats import FORMATS

FEW, MANY, SECONDS = 50, 250, 5.0
FRAMES_PER_SECOND = 50
HEADROOM = 0.5
SUITES = {"PCMU, SRTP AES-CM": "AES_CM_128_HMAC_SHA1_80", "PCMU, SRTP AES-GCM": "AEAD_AES_128_GCM"}


class Rating(NamedTuple):
    kind: str
    us_per_frame: float
    """What one frame in and one out costs the worker, in a call more."""
    calls_per_core: int
    """At which a core would be busy all the time."""
    rated_per_core: int


def rate(kind: str, us_per_frame: float) -> Rating:
    full = 1e6 / (us_per_frame * FRAMES_PER_SECOND)
    return Rating(kind, us_per_frame, int(full), int(full * HEADROOM))


def price_us(suite: str = "") -> float:
    """Of one frame in and out, from the difference of two loads: what the worker does anyway cancels out."""
    from bench import calls_per_core  # here, because it brings the compiler, and the command must feel instant

    few, many = (calls_per_core.whole_path(calls, SECONDS, suite) for calls in (FEW, MANY))
    return float(many["cpu_us"] * MANY - few["cpu_us"] * FEW) / (MANY - FEW)


def codec_us(name: str) -> float:
    """Of decoding one frame and encoding one."""
    from bench import frame_cost

    cost = frame_cost.measure(name)
    return cost["decode"] + cost["encode"]


def answer() -> list[dict[str, object]]:
    """A row for each kind of call."""
    plain = price_us()
    ratings = [rate("PCMU", plain)] + [rate(kind, price_us(suite)) for kind, suite in SUITES.items()]
    base = codec_us("PCMU")
    others = [name for name in FORMATS if name not in ("PCMU", "G729")]  # G729: by whose library?
    ratings += [rate(name, plain + max(0.0, codec_us(name) - base)) for name in others]
    return [rating._asdict() for rating in ratings]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=0, help="how many workers there will be (default: one a core, but one core is left)")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="the figures as JSON")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    from bench.server import OTHER_CORE

    workers = arguments.workers or max(1, len(os.sched_getaffinity(0)) - 1)
    os.sched_setaffinity(0, {OTHER_CORE})
    os.environ.setdefault("BELLFRAME_LOG_LEVEL", "ERROR")
    print(f"measuring {2 + len(SUITES)} kinds of calls, {3 * 2 * SECONDS:.0f} s and a little; nothing else should run", file=sys.stderr)
    rows = answer()
    if arguments.write:
        arguments.write.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    if arguments.json:
        print(orjson.dumps({"workers": workers, "ratings": rows}, option=orjson.OPT_INDENT_2).decode())
        return 0
    from control_plane import table

    headings = ("calls of this kind", "µs a frame", "fit on a core", "rated a core", f"rated on {table.count(workers, 'worker')}")
    print(table.render(headings, [(*row.values(), int(str(row["rated_per_core"])) * workers) for row in rows]))
    print("\nadmission refuses beyond media.max_busy_percent of a worker's core; media.rtp_ports bounds how many calls there can be")
    return 0


def test_capacity(benchmark):
    assert benchmark.pedantic(price_us, rounds=1) > 0
