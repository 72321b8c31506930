"""How many calls does one core carry when all of them have one RTP port?

As calls_per_core, with `shared_rtp_port`: packets of many calls pass with one system call. The bare echo beside it has one port
then, too, and the same batches, so the ratio says what our own code costs.
"""

import os
import sys
from typing import Any

from bench import calls_per_core
from bench.server import OTHER_CORE

STEPS = (1_000, 3_000, 4_000)


def answer(steps: tuple[int, ...] = STEPS, runs: int = 2) -> list[dict[str, Any]]:
    return calls_per_core.answer(steps, runs, is_shared=True)


def test_shared_port(benchmark):
    assert benchmark.pedantic(calls_per_core.whole_path, (20, 2.0, "", "PCMU", True), rounds=1)["lost"] == 0


if __name__ == "__main__":
    os.sched_setaffinity(0, {OTHER_CORE})
    for row in answer(tuple(int(n) for n in sys.argv[1:]) or STEPS, 1):
        print(row)
