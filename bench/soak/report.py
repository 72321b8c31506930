"""The soak's verdict, and its page: what was asked, what was found, and the pictures, in one file that can be sent."""

import base64
import html
import io
import pathlib
from typing import Any, NamedTuple

from bench.soak.caller import Figures, Verdict
from bench.soak.watch import Sample, Slope, slope

DESCRIPTORS_MORE = 8
LONGEST_GAP_MS = 2000
"""What a keeper's start takes at most. A killed worker costs less than 100 ms."""
PAGE = """<!doctype html><meta charset="utf-8"><title>Bellframe soak: {verdict}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}}
h1 b{{color:{colour}}}table{{border-collapse:collapse}}td,th{{padding:.25em 1em .25em 0;text-align:left;border-bottom:1px solid #ddd}}
img{{max-width:100%}}</style>
<h1>Soak: <b>{verdict}</b></h1><p>{summary}</p>
<table><tr><th>what</th><th>asked</th><th>found</th><th></th></tr>{rows}</table>
<img alt="memory, descriptors and calls over time, with the kills" src="data:image/png;base64,{picture}">
<h2>How calls ended early</h2><table>{causes}</table>
<h2>What calls were like</h2><table><tr><th>codec, or whom they called</th><th>calls</th></tr>{kinds}</table>"""


class Line(NamedTuple):
    what: str
    asked: str
    found: str
    is_good: bool


class Outcome(NamedTuple):
    """All that a run has seen."""

    seconds: float
    samples: list[Sample]
    figures: Figures
    faults: list[tuple[float, str, int]]
    descriptors_before: int
    descriptors_after: int
    calls_left: int
    rows_left: int
    transactions_left: int = 0
    dialogs_left: int = 0


def lines(outcome: Outcome) -> list[Line]:
    """The verdict is the last column: every line must be good."""
    figures, seconds = outcome.figures, [sample.seconds for sample in outcome.samples]
    memory = slope(seconds, [sample.memory_mb for sample in outcome.samples])
    longest_ms = max(figures.gaps_ms, default=0.0)
    judged, own = sum(figures.seconds.values()), figures.seconds[Verdict.OWN]
    descriptors = slope(seconds, [float(sample.descriptors) for sample in outcome.samples])
    rows = slope(seconds, [float(sample.rows - sample.calls) for sample in outcome.samples])
    dialogs = slope(seconds, [float(sample.dialogs - sample.calls) for sample in outcome.samples])
    transactions = slope(seconds, [float(sample.transactions) for sample in outcome.samples])
    more = outcome.descriptors_after - outcome.descriptors_before
    lost = figures.ended_early + figures.unanswered
    return [
        Line("calls set up", "all", f"{figures.set_up} ({figures.refused} refused)", figures.set_up > 0 and figures.refused == 0),
        Line("packets that proved to be nobody's (SRTP)", "0", f"{figures.unproven} in {figures.protected} calls", not figures.unproven),
        Line("calls lost", "0", str(lost), lost == 0),
        Line("seconds in which a call heard another's tone", "0", str(len(figures.foreign)), not figures.foreign),
        Line("seconds in which a call heard its own tone", "most", f"{own} of {judged}", judged > 0 and own > 0.9 * judged),
        Line("keys that came back", "most", f"{figures.keys_back} of {figures.keys}", figures.keys_back >= 0.8 * figures.keys),
        Line("longest silence between two packets, ms", f"at most {LONGEST_GAP_MS}", f"{longest_ms:.0f}", longest_ms <= LONGEST_GAP_MS),
        Line("memory slope, MB an hour", "0 within its 95 % interval", _interval(memory), not memory.is_growth),
        Line("descriptors slope, an hour", "0 within its 95 % interval", _interval(descriptors), not descriptors.is_growth),
        Line("transactions slope, an hour", "0 within its 95 % interval", _interval(transactions), not transactions.is_growth),
        Line("slope of dialogs without a call, an hour", "0 within its 95 % interval", _interval(dialogs), not dialogs.is_growth),
        Line("slope of rows (ports, rings) without a call, an hour", "0 within its 95 % interval", _interval(rows), not rows.is_growth),
        Line("descriptors", f"at most {DESCRIPTORS_MORE} more", f"{more:+d}", more <= DESCRIPTORS_MORE),
        Line("calls left afterwards", "0", str(outcome.calls_left), outcome.calls_left == 0),
        Line("rows (ports, rings) left afterwards", "0", str(outcome.rows_left), outcome.rows_left == 0),
        Line("transactions left afterwards", "0", str(outcome.transactions_left), outcome.transactions_left == 0),
        Line("dialogs left afterwards", "0", str(outcome.dialogs_left), outcome.dialogs_left == 0),
    ]


def _interval(found: Slope) -> str:
    if not found.is_known:
        return "not known: two minutes are needed at least"
    return f"{found.per_hour:+.1f} ({found.lowest:+.1f} to {found.highest:+.1f})"


def write(outcome: Outcome, path: pathlib.Path) -> bool:
    """The page; whether everything was good."""
    found = lines(outcome)
    is_good = all(line.is_good for line in found)
    hours = sum(sample.calls for sample in outcome.samples) / max(1, len(outcome.samples)) * outcome.seconds / 3600
    figures = outcome.figures
    made = f"{figures.set_up} calls, {len(outcome.faults)} processes killed, {figures.transferred} calls transferred"
    summary = f"{outcome.seconds / 60:.1f} minutes, {hours:.1f} call-hours, {made}"
    rows = "".join(
        f"<tr><td>{line.what}<td>{line.asked}<td>{html.escape(line.found)}<td>{'✓' if line.is_good else '<b>✗</b>'}</tr>" for line in found
    )
    ended = sorted(outcome.figures.causes.items(), key=lambda pair: -pair[1])
    causes = "".join(f"<tr><td>{count}<td>{html.escape(cause)}</tr>" for cause, count in ended) or "<tr><td>none</tr>"
    kinds = "".join(f"<tr><td>{kind}<td>{count}</tr>" for kind, count in sorted(figures.kinds.items()))
    values = {"kinds": kinds, "verdict": "passed" if is_good else "failed", "colour": "#2a7a3a" if is_good else "#b02020"}
    path.write_text(PAGE.format(**values, summary=summary, rows=rows, causes=causes, picture=draw(outcome)))
    return is_good


def draw(outcome: Outcome) -> str:
    """PNG in base64; empty without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return ""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [sample.seconds / 60 for sample in outcome.samples]
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True, layout="constrained")
    drawn: tuple[tuple[Any, str, list[float]], ...] = (
        (axes[0], "memory, MB", [sample.memory_mb for sample in outcome.samples]),
        (axes[1], "descriptors", [float(sample.descriptors) for sample in outcome.samples]),
        (axes[2], "transactions", [float(sample.transactions) for sample in outcome.samples]),
        (axes[3], "calls up", [float(sample.calls) for sample in outcome.samples]),
    )
    for axis, name, values in drawn:
        axis.plot(minutes, values, color="#4878a8")
        axis.set_ylabel(name)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(0, max(values, default=1.0) * 1.15 + 1)
        for seconds, kind, _ in outcome.faults:
            axis.axvline(seconds / 60, color="#c04040", alpha=0.35, linewidth=1)
            if axis is axes[0]:
                axis.annotate(kind, (seconds / 60, axis.get_ylim()[1]), fontsize=6, rotation=90, va="top", ha="right", color="#c04040")
    axes[3].set_xlabel("minutes")
    octets = io.BytesIO()
    figure.savefig(octets, format="png", dpi=100)
    pyplot.close(figure)
    return base64.b64encode(octets.getvalue()).decode()
