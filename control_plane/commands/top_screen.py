"""How `bellframe top` looks."""

from typing import TYPE_CHECKING

from control_plane import table
from control_plane.commands.top_figures import Figures
from control_plane.logs import clean

if TYPE_CHECKING:
    from rich.console import Group

BAR, BAR_FLOOR_DBOV = " ▁▂▃▄▅▆▇█", -60
BAD_MOS = 3.6
"""Many of those who hear this complain (ITU-T G.107 annex B)."""


def level_bar(level_dbov: int) -> str:
    """One character: nothing below -60 dBov, full near 0."""
    share = 1 - max(BAR_FLOOR_DBOV, min(0, level_dbov)) / BAR_FLOOR_DBOV
    return BAR[round(share * (len(BAR) - 1))] * 3


def draw(figures: Figures, order: str = "", selected: str = "", below: str = "") -> "Group":
    """`order`: marked in the headings. `selected`: the call whose line is marked. `below`: a line at the end."""
    from rich.console import Group
    from rich.table import Column, Table
    from rich.text import Text

    def numbers(*names: str) -> list[Column]:
        return [Column(name, justify="right", no_wrap=True) for name in names]

    figures_of_worker = numbers("core", "pid", "calls", "busy", "late p99", "worst", "sent late")
    workers = Table("worker", *figures_of_worker, box=None, header_style="bold", pad_edge=False)
    for w in figures.workers:
        colour = "red" if w.busy_percent > 85 else "yellow" if w.busy_percent > 60 else "green"
        name = f"{w.index}" + (f" (replaced {w.generation - 1}x)" if w.generation > 1 else "")
        busy = Text(f"{w.busy_percent:.1f} %", style=colour)
        late = f"{w.late_p99_us / 1000:.2f} ms", f"{w.worst_late_us / 1000:.2f} ms"
        workers.add_row(name, str(w.core), str(w.pid), str(w.calls), busy, *late, str(w.sent_late))
    names_and_levels = "caller", "", "callee", "agent", "hears", "says"
    measured = numbers(*(f"{name}*" if name == order else name for name in ("lost", "jitter", "rtt", "mos")))
    columns: list[Column | str] = ["call", *numbers("time*" if order == "time" else "time"), *names_and_levels, *measured]
    calls = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for c in figures.calls:
        names = Text(clean(c.caller, 40)), Text("->"), Text(clean(c.callee, 40)), Text(clean(c.agent, 30))
        levels = Text(level_bar(c.level_rx_dbov), style="cyan"), Text(level_bar(c.level_tx_dbov), style="magenta")
        lost = Text(f"{c.lost_percent:.1f} %", style="red" if c.lost_percent > 2 else "")
        rtt = f"{c.rtt_ms:.0f} ms" if c.rtt_ms else "-"
        mos = Text(f"{c.mos:.1f}" if c.mos else "-", style="red" if 0 < c.mos < BAD_MOS else "")
        cells = names, levels, (lost, f"{c.jitter_ms:.1f} ms", rtt, mos)
        style = "reverse" if c.call_id == selected else ""
        calls.add_row(Text(clean(c.call_id, 40)), table.duration(c.duration_s), *(cell for group in cells for cell in group), style=style)
    hidden = figures.open - len(figures.calls)
    end = [Text(below, style="dim")] if below else []
    if not figures.calls:
        return Group(workers, Text(""), Text("no calls", style="dim"), *end)
    rest = f"and {hidden} more: `bellframe calls` lists all" if hidden > 0 else ""
    return Group(workers, Text(""), calls, Text(rest, style="dim"), *end)
