"""The pictures of the answers: one figure a question, the bar drawn in where there is one."""

import pathlib
from collections.abc import Callable
from typing import Any


def draw(name: str, found: Any, path: pathlib.Path) -> pathlib.Path | None:
    """Draw the answer to a question; None if matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    PICTURES[name](axes, found)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _bars(axes: Any, values: dict[str, float], unit: str, title: str, bar: float | None = None, text: str = "bar") -> None:
    drawn = axes.bar(list(values), list(values.values()), color="#4878a8", width=0.6)
    axes.bar_label(drawn, fmt="%.3g", padding=2)
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left")
    axes.margins(y=0.15)
    if bar is not None:
        axes.axhline(bar, color="#c04040", linestyle="--", label=f"{text}: {bar:g} {unit}")
        axes.legend(frameon=False)


def _ring_hop(axes: Any, found: Any) -> None:
    values = {f"hop: {key}": value for key, value in found["hop_us"].items()}
    values |= {f"wake-up {key}": value for key, value in found["wake_up_us"].items()}
    _bars(axes, values, "µs", "A frame through a ring, and waking who sleeps on it")
    axes.set_yscale("log")


def _frame_cost(axes: Any, found: Any) -> None:
    found = {name: row for name, row in found.items() if "decode" in row}  # SRTP has other steps: it is in the text
    steps = list(next(iter(found.values())))
    width = 0.8 / len(found)
    for n, (name, row) in enumerate(found.items()):
        axes.bar([i + n * width for i in range(len(steps))], [row[step] for step in steps], width, label=name)
    axes.set_xticks([i + 0.4 - width / 2 for i in range(len(steps))], steps)
    axes.set_ylabel("µs")
    axes.set_title("Our own code, per 20 ms frame", loc="left")
    axes.legend(frameon=False)


def _packet_to_agent(axes: Any, found: Any) -> None:
    for percentile in ("p50", "p99", "worst"):
        axes.plot([str(calls) for calls in found], [row[percentile] / 1000 for row in found.values()], "o-", label=percentile)
    axes.axhline(2, color="#c04040", linestyle="--", label="bar for p99: 2 ms")
    axes.set(xlabel="calls at once", ylabel="ms", yscale="log")
    axes.set_title("From the packet on the wire to the frame in the agent's ring", loc="left")
    axes.legend(frameon=False)


def _interruption(axes: Any, found: Any) -> None:
    values: dict[str, Any] = {}
    for kind, row in found.items():
        for since, name in (("from_first_packet_ms", "first packet"), ("from_telling_packet_ms", "told")):
            values |= {f"{kind}, since\n{name}, {'worst' if p == 100 else f'p{p}'}": value for p, value in row[since].items() if p != 99}
    _bars(axes, values, "ms", "The caller speaks over the agent: until the line is silent", 40)


def _voice_activity(axes: Any, found: Any) -> None:
    rows = {name: row for name, row in found.items() if name != "cost_us"}
    for n, (name, color) in enumerate((("energy", "#b0b8c4"), ("silero", "#4878a8"))):
        heights = [row[name]["false_a_minute"] for row in rows.values()]
        drawn = axes.bar([i + 0.4 * n for i in range(len(rows))], heights, 0.4, label=name, color=color)
        axes.bar_label(drawn, [f"{row[name]['missed']}" for row in rows.values()], padding=2, fontsize=7)
    axes.set_xticks([i + 0.2 for i in range(len(rows))], [name.replace(", ", "\n") for name in rows], fontsize=7)
    axes.set_ylabel("false starts a minute")
    axes.set_title("Voices found in noise: false starts, and above them sentences missed of 12", loc="left")
    axes.legend(frameon=False)


def _agents(axes: Any, found: Any) -> None:
    values = {name.replace(", ", "\n"): row["core_percent"] for name, row in found.items()}
    _bars(axes, values, "% of a core", "One bridge process: the CPU that its calls take")


def _echo(axes: Any, found: Any) -> None:
    for n, (name, color) in enumerate((("unguarded", "#b0b8c4"), ("guarded", "#4878a8"))):
        heights = [row[name]["self_interruptions_a_minute"] for row in found.values()]
        drawn = axes.bar([i + 0.4 * n for i in range(len(found))], heights, 0.4, label=name, color=color)
        axes.bar_label(drawn, [f"{row[name]['missed']}" for row in found.values()], padding=2, fontsize=7)
    axes.set_xticks([i + 0.2 for i in range(len(found))], [name.replace(", ", "\n") for name in found], fontsize=5)
    axes.set_ylabel("self-interruptions a minute")
    axes.set_title("The agent's voice comes back: self-interruptions, and above them sentences missed of 6", loc="left")
    axes.legend(frameon=False)


def _turns(axes: Any, found: Any) -> None:
    wrong = ("told_wrong", "samples_of_an_old_turn", "turns_with_a_hole")
    title = f"{found['turns']} turns on {found['calls']} calls, {found['interrupted']} interrupted at random moments"
    _bars(axes, {name.replace("_", " "): found[name] for name in wrong}, "count", title, 0)


def _takeover(axes: Any, found: Any) -> None:
    values = {f"gap p{p}" if p != 100 else "longest gap": value for p, value in found["gap_ms"].items()}
    values |= {f"takeover, {key}": value for key, value in found["takeover_ms"].items()}
    title = f"{found['kills']} times SIGKILL of the worker under {found['calls']} calls: {found['lost']} lost"
    _bars(axes, values, "ms", title, 250, "bar for the longest gap")


def _bot_faults(axes: Any, found: Any) -> None:
    stalls, kills = found["stalls"], found["kills"]
    values = {f"{name}, gap p{p}": value for name, row in found.items() for p, value in row["gap_ms"].items()}
    values |= {f"kills, back p{p}": value for p, value in kills["back_ms"].items()}
    missing = stalls["missing"] + kills["missing"]
    title = f"A bot that stalls 1 s every 5, and {kills['kills']} times SIGKILL of it, {kills['calls']} calls: {missing} frames missing"
    _bars(axes, values, "ms", title, 1000, "bar to be back")


def _kills(axes: Any, found: Any) -> None:
    rows = {kind: row for kind, row in found.items() if kind != "records"}
    for n, (p, name) in enumerate(((50, "p50"), (99, "p99"), (100, "longest"))):
        at = [i + 0.26 * n for i in range(len(rows))]
        drawn = axes.bar(at, [row["gap_ms"].get(p, row["gap_ms"].get(str(p))) for row in rows.values()], 0.24, label=name)
        axes.bar_label(drawn, fmt="%.0f", padding=2)
    for i, row in enumerate(rows.values()):
        axes.hlines(row["bar_ms"], i - 0.15, i + 0.67, color="#c04040", linestyle="--", label="bar for p99" if i == 0 else None)
    axes.set_xticks([i + 0.26 for i in range(len(rows))], [f"{kind}\n{row['kills']} times" for kind, row in rows.items()])
    axes.set(ylabel="ms without RTP", yscale="log", ylim=(10, None))
    lost, failed = (sum(row[name] for row in rows.values()) for name in ("lost", "failed_setups"))
    once = f"{found['records']['calls']} calls recorded, {found['records']['missing']} missing, {found['records']['twice']} twice"
    axes.set_title(f"SIGKILL under {next(iter(rows.values()))['calls']} calls: {lost} lost, {failed} set-ups failed; {once}", loc="left")
    axes.legend(frameon=False)


def _upgrade(axes: Any, found: Any) -> None:
    values = {f"gap p{p}" if str(p) != "100" else "longest gap": value for p, value in found["gap_ms"].items()}
    values |= {f"set-up p{p}" if str(p) != "100" else "longest set-up": value for p, value in found["setup_ms"].items()}
    title = f"{found['upgrades']} upgrades under {found['calls']} calls: {found['cut']} cut, {len(found['failures'])} of {found['setups']}"
    _bars(axes, values, "ms", f"{title} set-ups failed")


def _front_takeover(axes: Any, found: Any) -> None:
    values = {f"answered, {key}": value for key, value in found["answered_ms"].items()}
    values |= {f"set-up, {key}": value for key, value in found["setup_ms"].items()} | {"longest RTP gap": found["gap_ms"][100]}
    lost = f"{found['lost']} calls and {found['lost_setups']} set-ups lost"
    title = f"{found['kills']} times SIGKILL of the front under {found['calls']} calls: {lost}"
    _bars(axes, values, "ms", title, 500, "bar for the answer")


def _flood(axes: Any, found: Any) -> None:
    values: dict[str, Any] = {}
    for row in found:
        values |= {f"{row['sources']} sources\nset-up p{p}": row["setup_ms"][p] for p in (50, 99)}
        values |= {f"{row['sources']} sources\nRTP gap": row["longest_gap_ms"]}
    failed, calls = sum(row["failed"] for row in found), sum(row["set_ups"] for row in found)
    title = f"{found[0]['messages_per_second']:.0f} messages/s of strangers: {failed} of {calls} trusted set-ups failed"
    _bars(axes, values, "ms", title, 500, "bar for p99")


def _hostile_input(axes: Any, found: Any) -> None:
    shown = {"not SIP": found["messages"] - found["read as SIP"], "SIP": found["read as SIP"]}
    _bars(axes, {**shown, "raised": found["raised"], "over 5 ms": found["took over 5 ms"]}, "messages", "Spoilt messages")


def _idle_connections(axes: Any, found: Any) -> None:
    parts = {f"{row['step']}\n{when}": row[when] for row in found for when in ("during", "after")}
    values = {f"{name} p{p}": part["connect_ms"][p] for name, part in parts.items() for p in ("50", "99")}
    failed, connects = (sum(part[name] for part in parts.values()) for name in ("failed", "connects"))
    _bars(axes, values, "ms", f"{found[0]['opened']} idle connections: {failed} of {connects} trusted ones failed", 500, "bar for p99")


def _call_setups(axes: Any, found: Any) -> None:
    for percentile, name in ((50, "p50"), (99, "p99"), (100, "worst")):
        axes.plot([row["rate"] for row in found], [row["setup_ms"][percentile] for row in found], "o-", label=name)
    axes.axhline(50, color="#c04040", linestyle="--", label="bar for p99: 50 ms")
    for row in found:
        note = f"front {row['front_percent']:.0f} % of a core, {row['failed']} failed"
        axes.annotate(note, (row["rate"], row["setup_ms"][50]), textcoords="offset points", xytext=(0, -12), ha="center")
    axes.set(xlabel="calls set up and ended per second", ylabel="ms", yscale="log")
    axes.margins(0.15)
    axes.set_title("From the INVITE to its answer", loc="left")
    axes.legend(frameon=False)


def _metrics_scrape(axes: Any, found: Any) -> None:
    values = {f"scrape p{key[1:-3]}": value for key, value in found["cost"].items() if key[0] == "p"} | {"CPU": found["cost"]["cpu_ms"]}
    _bars(axes, values, "ms", f"A scrape of the metrics with {found['cost']['calls']} calls open", found["cost"]["bar_ms"])


def _wire_bots(axes: Any, found: Any) -> None:
    calls = [row["calls"] for row in found]
    axes.plot(calls, [row["bridge_percent"] for row in found], "o-", label="bridge: JSON over a WebSocket, both ways")
    axes.axhline(100, color="#c04040", linestyle="--", label="one core")
    for row in found:
        note = f"packet to bot p99 {row['packet_to_bot_ms']['99']:.1f} ms"
        axes.annotate(note, (row["calls"], row["bridge_percent"]), textcoords="offset points", xytext=(0, 8), ha="center")
    axes.set(xlabel="calls at once", ylabel="% of a core", ylim=(0, 120))
    axes.set_title("Twilio-wire bots on one bridge process", loc="left")
    axes.legend(frameon=False)


def _calls_per_core(axes: Any, found: Any) -> None:
    calls = [row["calls"] for row in found]
    axes.plot(calls, [row["cpu_us"] for row in found], "o-", label="worker: whole path with echo agent")
    axes.plot(calls, [row["bare_us"] for row in found], "s-", color="#808080", label="bare UDP echo through the same kind of ports")
    axes.plot(calls, [row["bare_us"] * 1.4 for row in found], "--", color="#c04040", label="1.4 x bare: the bar with a port a call")
    for row in found:
        note = f"{row['ratio']:.2f}x" + ("" if row["lost"] + row["sent_late"] == 0 else f"\nlost {row['lost']}, late {row['sent_late']}")
        axes.annotate(note, (row["calls"], row["cpu_us"]), textcoords="offset points", xytext=(0, 8), ha="center")
    axes.set(xlabel="calls at once", ylabel="µs of CPU per frame in and out", ylim=(0, None))
    axes.set_title("Calls on one core", loc="left")
    axes.legend(frameon=False)


def _concealment(axes: Any, found: Any) -> None:
    for name, row in found.items():
        if not name.startswith("one lost"):
            style = {"color": "#c04040", "linestyle": "--"} if name.startswith("bar") else {"marker": "o"}
            axes.plot([float(loss.rstrip(" %")) for loss in row], list(row.values()), label=name, **style)
    axes.set(xlabel="packets lost, %", ylabel="PESQ (narrow band; G722 and OPUS wide band)")
    axes.set_title("How speech sounds when packets are lost", loc="left")
    axes.legend(frameon=False)


def _recording(axes: Any, found: Any) -> None:
    more = f"{found['more_percent']:+g} % (bar: +{found['bar_percent']} %), recorder {found['recorder_core_percent']:g} % of a core"
    _bars(axes, found["worker_us"], "µs", f"Every one of {found['calls']} calls recorded, the worker's CPU per packet: {more}")


def _capacity_curves(axes: Any, found: Any) -> None:
    lateness = axes.twinx()
    for name, rows in found.items():
        calls = [row["calls"] for row in rows]
        (line,) = axes.plot(calls, [row["core_percent"] for row in rows], "o-", label=name)
        lateness.plot(calls, [row["lateness_ms"][99.9] for row in rows], "s:", color=line.get_color())
        if any(row["lost"] for row in rows):
            axes.annotate(f"lost {rows[-1]['lost']}", (calls[-1], rows[-1]["core_percent"]))
    axes.set(xlabel="calls on one core", ylabel="% of the core (lines)", ylim=(0, 105), xscale="log")
    lateness.set(ylabel="p99.9 of lateness, ms (dots)", yscale="log")
    lateness.axhline(5, color="#c04040", linestyle="--")
    axes.set_title("What calls cost, and how late their packets leave (bar at 80 %: 5 ms)", loc="left")
    axes.legend(frameon=False)


def _sip_parse(axes: Any, found: Any) -> None:
    values = {name.removesuffix(", µs"): row["best"] for name, row in found.items() if isinstance(row, dict)}
    _bars(axes, values, "µs", f"An INVITE of {found['octets']} octets", 30)


def _capacity(axes: Any, found: Any) -> None:
    kinds = [row["kind"] for row in found]
    axes.barh(kinds, [row["calls_per_core"] for row in found], color="#c8d4e2", label="fit")
    rated = axes.barh(kinds, [row["rated_per_core"] for row in found], color="#4878a8", label="rated, with half as headroom")
    axes.bar_label(rated, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("calls on one core")
    axes.set_title("What this machine takes", loc="left")
    axes.legend(frameon=False)


PICTURES: dict[str, Callable[[Any, Any], None]] = {
    "ring_hop": _ring_hop,
    "capacity": _capacity,
    "sip_parse": _sip_parse,
    "hostile_input": _hostile_input,
    "frame_cost": _frame_cost,
    "concealment": _concealment,
    "packet_to_agent": _packet_to_agent,
    "interruption": _interruption,
    "voice_activity": _voice_activity,
    "agents": _agents,
    "echo": _echo,
    "turns": _turns,
    "takeover": _takeover,
    "kills": _kills,
    "bot_faults": _bot_faults,
    "upgrade": _upgrade,
    "front_takeover": _front_takeover,
    "flood": _flood,
    "idle_connections": _idle_connections,
    "call_setups": _call_setups,
    "metrics_scrape": _metrics_scrape,
    "wire_bots": _wire_bots,
    "recording": _recording,
    "joined_legs": lambda axes, found: _calls_per_core(axes, [row | {"calls": row["legs"]} for row in found]),
    "calls_per_core": _calls_per_core,
    "shared_port": _calls_per_core,
    "capacity_curves": _capacity_curves,
}
