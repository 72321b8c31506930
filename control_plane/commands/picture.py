"""A picture of a call: both waveforms over time, who spoke when, keys, and each interruption looked at closely.

matplotlib is loaded when a picture is drawn, so that the command starts without it.
"""

import pathlib
import textwrap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CALLER, AGENT, BARGE_IN, KEY, FAINT = "#1f6fb2", "#c05621", "#b3173c", "#5b3a94", "#64707d"
SIDES = (("caller", CALLER), ("agent", AGENT))
CLOSE_BEFORE_S, CLOSE_AFTER_S = 0.25, 0.55
MOST_CLOSE_UPS = 3
COLUMNS = 4_000  # envelope points across the picture: more than it has pixels
Seconds = tuple[float, float]
Floats = npt.NDArray[np.float64]


class Interruption(NamedTuple):
    onset_s: float
    """The caller's first loud packet left."""
    silent_s: float
    """The first packet of the silence that followed arrived."""
    text: str
    decided_s: float | None = None
    """The agent knew that the caller speaks."""


class Recording(NamedTuple):
    """Times are seconds from the recording's start."""

    stereo: npt.NDArray[np.int16]
    """(samples, 2): caller, agent."""
    rate_hz: int
    spurts: tuple[list[Seconds], list[Seconds]]
    """Of the caller, of the agent."""
    keys: list[tuple[float, str]]
    interruptions: list[Interruption]
    texts: tuple[list[tuple[float, str]], list[tuple[float, str]]]
    """What each side said, and when it began."""
    title: str


def draw(path: pathlib.Path, call: Recording) -> None:
    """Write a PNG. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    close_ups = call.interruptions[:MOST_CLOSE_UPS]
    heights = [5, 2.6] if close_ups else [5]
    figure = pyplot.figure(figsize=(16, 1.9 + sum(heights)), dpi=110, layout="constrained")
    grid = figure.add_gridspec(len(heights), max(1, len(close_ups)), height_ratios=heights)
    figure.suptitle(call.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    _draw_call(figure.add_subplot(grid[0, :]), call)
    for column, interruption in enumerate(close_ups):
        _draw_close_up(figure.add_subplot(grid[1, column]), call, interruption)
    figure.savefig(path)
    pyplot.close(figure)


def _draw_call(axes: Any, call: Recording) -> None:
    """One lane for each side: the waveform, a bar below it where it speaks, its words above it."""
    duration_s = max(len(call.stereo) / call.rate_hz, 1.0)
    loudest = max(1, int(np.abs(call.stereo.astype(int)).max(initial=1)))
    for side, (name, colour) in enumerate(SIDES):
        middle = 2.9 if side == 0 else 0.0
        times, low, high = envelope(call.stereo[:, side], call.rate_hz)
        axes.fill_between(times, middle + low / loudest, middle + high / loudest, color=colour, linewidth=0.3)
        for begin, end in call.spurts[side]:
            axes.broken_barh([(begin, end - begin)], (middle - 1.2, 0.1), color=colour, alpha=0.9)
            axes.axvspan(begin, end, ymin=_share(middle - 1.2), ymax=_share(middle + 1.05), color=colour, alpha=0.07, linewidth=0)
        _write_texts(axes, call.texts[side], middle + 1.08, colour, duration_s)
        beside = {"transform": axes.transAxes, "ha": "right", "va": "center"}
        axes.text(-0.006, _share(middle), name, color=colour, fontsize=12, fontweight="bold", **beside)
    for at_s, key in call.keys:
        axes.plot([at_s], [2.9], marker="s", markersize=15, color="white", markeredgecolor=KEY, markeredgewidth=1.6, zorder=5)
        axes.text(at_s, 2.88, key, ha="center", va="center", color=KEY, fontsize=11, fontweight="bold", zorder=6)
        axes.text(at_s, 2.32, f"key {key}", ha="center", va="top", color=KEY, fontsize=8, zorder=6)
    for one in call.interruptions:
        axes.axvline(one.onset_s, ymin=_share(-1.3), ymax=_share(4.0), color=BARGE_IN, linewidth=1.2, zorder=4)
        words = f"barge-in: silent after {1000 * (one.silent_s - one.onset_s):.0f} ms"
        axes.text(one.onset_s, -1.38, words, color=BARGE_IN, fontsize=9, ha="left" if one.onset_s < 0.8 * duration_s else "right", va="top")
    axes.set_xlim(0, duration_s)
    axes.set_ylim(LOWEST, HIGHEST)
    axes.set_yticks([])
    axes.set_xlabel("seconds since the call was answered", color=FAINT)
    axes.tick_params(colors=FAINT)
    for edge in ("top", "left", "right"):
        axes.spines[edge].set_visible(False)


LOWEST, HIGHEST = -1.75, 4.75


def _share(y: float) -> float:
    """Height on the axes, for what takes shares of it."""
    return (y - LOWEST) / (HIGHEST - LOWEST)


def _write_texts(axes: Any, texts: list[tuple[float, str]], y: float, colour: str, duration_s: float) -> None:
    """Each in the room up to the next one."""
    begins = [begin for begin, _ in texts] + [duration_s]
    for (begin, text), following in zip(texts, begins[1:], strict=True):
        characters = max(10, int((following - begin) / duration_s * 190))
        lines = textwrap.wrap(f"“{text}”", characters)
        if len(lines) > 3:
            lines = [*lines[:2], lines[2][: characters - 1] + "…"]
        axes.text(begin, y, "\n".join(lines), color=colour, fontsize=8.5, va="bottom", ha="left", linespacing=1.1)


def _draw_close_up(axes: Any, call: Recording, one: Interruption) -> None:
    """Milliseconds around one interruption: 0 is the caller's first sample on the wire."""
    end_s = one.onset_s + max(CLOSE_AFTER_S, one.silent_s - one.onset_s + 0.2)
    first, last = (max(0, int(s * call.rate_hz)) for s in (one.onset_s - CLOSE_BEFORE_S, end_s))
    times = (np.arange(first, first + len(call.stereo[first:last])) / call.rate_hz - one.onset_s) * 1000
    for side, (_, colour) in enumerate(SIDES):
        samples = call.stereo[first:last, side].astype(float)
        axes.plot(times, samples / max(1.0, np.abs(samples).max(initial=1.0)) + (2.2 if side == 0 else 0), color=colour, linewidth=0.7)
    silent_ms = (one.silent_s - one.onset_s) * 1000
    axes.axvspan(0, silent_ms, color=BARGE_IN, alpha=0.12, linewidth=0)
    marks = [(0.0, "caller speaks", "right"), (silent_ms, f"silence on the wire: {silent_ms:.0f} ms", "left")]
    if one.decided_s is not None:
        decided_ms = (one.decided_s - one.onset_s) * 1000
        axes.axvline(decided_ms, color=BARGE_IN, linewidth=1, linestyle=":")
        axes.text(decided_ms, -1.12, f"noticed {decided_ms:.0f} ms ", color=BARGE_IN, fontsize=8, ha="right", va="top")
    for at_ms, text, side_of in marks:
        axes.axvline(at_ms, color=BARGE_IN, linewidth=1)
        axes.text(at_ms, 3.35, f" {text} ", color=BARGE_IN, fontsize=8.5, ha=side_of, va="bottom")
    axes.set_ylim(-1.4, 3.9)
    axes.set_yticks([0, 2.2], ["agent", "caller"])
    axes.set_xlim(-CLOSE_BEFORE_S * 1000, (end_s - one.onset_s) * 1000)
    axes.set_xlabel(f"milliseconds around “{one.text}”", color=FAINT)
    axes.tick_params(colors=FAINT, length=0)
    for edge in ("top", "left", "right"):
        axes.spines[edge].set_visible(False)


def envelope(samples: npt.NDArray[np.int16], rate_hz: int) -> tuple[Floats, Floats, Floats]:
    """Time in seconds, lowest and highest sample of each of at most COLUMNS stretches: what a waveform looks like from afar."""
    width = max(1, -(-samples.size // COLUMNS))
    padded = np.pad(samples, (0, -samples.size % width)).astype(np.float64).reshape(-1, width)
    return np.arange(len(padded)) * width / rate_hz, padded.min(axis=1, initial=0), padded.max(axis=1, initial=0)
