"""The short version of `python -m bench kills --times 100`: each process is killed once under calls, and once more."""

import json
import os
import subprocess
import sys

from tests.system.server import ROOT

MEASURE = """
import json, os
from bench import kills
from bench.server import OTHER_CORE
os.sched_setaffinity(0, {OTHER_CORE})
print(json.dumps(kills.answer(2, 30)))
"""


def test_no_call_is_lost_or_recorded_twice_whichever_process_is_killed() -> None:
    environment = {**os.environ, "BELLFRAME_LOG_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, cwd=ROOT, timeout=150, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    records = found.pop("records")
    assert set(found) == {"worker", "front", "bridge", "keeper", "stopped worker"}
    for kind, row in found.items():
        assert (row["lost"], row["failed_setups"], row["out_of_order_afterwards"]) == (0, 0, 0), (kind, row)
    assert found["keeper"]["gap_ms"]["100"] < found["keeper"]["back_ms"]["50"], "its workers go on until its successor has others"
    assert found["stopped worker"]["breathes"]["100"] == 0, "it was gone before its successor began"
    assert records["calls"] > 30 and (records["missing"], records["twice"]) == (0, 0)
