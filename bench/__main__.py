"""`python -m bench [QUESTION ...] [--NAME VALUE ...]`: ask, print the answers beside the bars, and draw them.

A name and its value are for each question asked, such as `python -m bench kills --times 100`: see its `answer`.

Answers go to results/ as JSON and pictures. The generator is pinned away from the worker; run it on a machine that
has nothing else to do, or read the disturbance that is printed with each figure.
"""

import importlib
import json
import os
import pathlib
import sys
import time
from typing import Any

from bench import picture
from bench.server import OTHER_CORE

QUESTIONS = {
    "ring_hop": "cost of a ring hop, and of waking a sleeping bridge",
    "sip_parse": "cost of reading an INVITE as far as it can be routed",
    "frame_cost": "cost of one frame in our own code",
    "concealment": "how speech sounds when packets are lost",
    "packet_to_agent": "from the packet to the agent's ring",
    "interruption": "from the caller's voice to silence on the wire",
    "voice_activity": "who notices that a caller speaks in noise, and what it costs",
    "agents": "calls that one bridge process carries, with an agent each and with one for all",
    "echo": "how often an agent interrupts itself through the caller's speakerphone",
    "turns": "what an interrupted agent is told against the recording of the wire",
    "takeover": "the gap when a worker is killed",
    "kills": "what is lost when each of our processes is killed again and again",
    "upgrade": "what is cut or refused while every process is replaced",
    "call_setups": "complete calls a second, and how long a caller waits for the answer",
    "front_takeover": "how soon a killed front's successor answers, and what is lost",
    "flood": "twenty thousand messages a second of strangers, beside calls and a trusted trunk",
    "hostile_input": "spoilt messages that a front takes before it raises, stumbles or is slow",
    "idle_connections": "ten thousand connections that say nothing, beside a trusted peer who connects",
    "metrics_scrape": "a scrape of the metrics with a thousand calls, and what the duty cycle notices of it",
    "wire_bots": "bots behind WebSockets on one bridge process, and how late a packet is at the bot's socket",
    "bot_faults": "what callers and bot lose when the bot stands still, or is killed",
    "capacity": "calls of each kind that this machine takes",
    "recording": "what recording every call costs the worker, and the recorder",
    "joined_legs": "legs on one core when calls are joined in pairs",
    "calls_per_core": "calls on one core, beside the bare kernel",
    "shared_port": "the same with all calls on one RTP port",
    "capacity_curves": "CPU and lateness against calls, for each codec and SRTP suite",
}
RESULTS = pathlib.Path("results")


def main() -> int:
    asked, settings = words(sys.argv[1:])
    asked = asked or list(QUESTIONS)
    unknown = [name for name in asked if name not in QUESTIONS]
    if unknown:
        print(f"bench: no such question: {unknown[0]}; there are {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {OTHER_CORE})
    RESULTS.mkdir(exist_ok=True)
    for name in asked:
        print(f"\n{name}: {QUESTIONS[name]}", flush=True)
        started = time.monotonic()
        found = importlib.import_module(f"bench.{name}").answer(**settings)
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1, default=float))
        show(found)
        drawn = picture.draw(name, found, RESULTS / f"{name}.png")
        print(f"  took {time.monotonic() - started:.0f} s; {RESULTS / name}.json" + (f", {drawn}" if drawn else ""), flush=True)
    return 0


def words(given: list[str]) -> tuple[list[str], dict[str, int | str]]:
    """Questions, and what is said with --NAME VALUE."""
    asked, settings, rest = list[str](), dict[str, int | str](), iter(given)
    for word in rest:
        if word.startswith("--"):
            value = next(rest, "")
            settings[word[2:]] = int(value) if value.isdecimal() else value
        else:
            asked.append(word)
    return asked, settings


def show(found: Any, indent: str = "  ") -> None:
    """The answer as lines that a person reads."""
    if isinstance(found, list):
        for row in found:
            print(indent + "  ".join(f"{key} {short(value)}" for key, value in row.items()))
    elif isinstance(found, dict):
        for key, value in found.items():
            if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
                print(f"{indent}{key}")
                show(value, indent + "  ")
            else:
                print(f"{indent}{key:24} {short(value)}")


def short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {short(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(short(inner) for inner in value) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
