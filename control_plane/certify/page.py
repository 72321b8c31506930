"""The report to send as a page: one file, with its pictures in it, that says the same as the Markdown."""

import html
import time

from control_plane.certify.checks import Result
from control_plane.certify.report import Report

COLOURS = {"passed": "#2a7a3a", "failed": "#b02020", "not testable": "#777777"}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Interoperability of {far_end} with Bellframe {release}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}}
table{{border-collapse:collapse;width:100%}}td,th{{padding:.4em 1em .4em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}}
td:first-child{{white-space:nowrap}}b{{white-space:nowrap}}
svg{{display:block;margin:.4em 0}}small{{color:#666}}figure{{margin:1.5em 0}}</style>
<h1>Interoperability of {far_end} with Bellframe {release}</h1>
<p>{began} to {ended}. {counts}</p>
{strip}
<table><tr><th>check<th>asked<th>outcome<th>found</tr>{rows}</table>
{pictures}
</html>
"""
WIDTH, HEIGHT = 640, 90


def page(report: Report) -> str:
    counts = {name: sum(result.outcome == name for result in report.results) for name in COLOURS}
    far_end, release = html.escape(report.far_end), html.escape(report.release)
    return PAGE.format(
        far_end=far_end, release=release, began=_when(report.began_at), ended=_when(report.ended_at),
        counts=f"{counts['passed']} passed, {counts['failed']} failed, {counts['not testable']} could not be tested from this side.",
        strip=_strip(counts), rows="".join(map(_row, report.results)),
        pictures="".join(_picture(result.name, name, values) for result in report.results for name, values in result.series.items()),
    )  # fmt: skip


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _row(result: Result) -> str:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in result.figures.items())
    detail = f"<br><small>{html.escape(figures)}</small>" if figures else ""
    outcome = f'<b style="color:{COLOURS[result.outcome]}">{result.outcome}</b>'
    return f"<tr><td>{html.escape(result.name)}<td>{html.escape(result.asked)}<td>{outcome}<td>{html.escape(result.found)}{detail}</tr>"


def _strip(counts: dict[str, int]) -> str:
    """How many came out how, as one bar."""
    total, left, parts = max(1, sum(counts.values())), 0.0, ""
    for name, count in counts.items():
        width = WIDTH * count / total
        parts += f'<rect x="{left:.1f}" width="{width:.1f}" height="14" fill="{COLOURS[name]}"><title>{count} {name}</title></rect>'
        left += width
    return f'<svg role="img" aria-label="outcomes" width="{WIDTH}" height="14">{parts}</svg>'


def _picture(check: str, name: str, values: tuple[float, ...]) -> str:
    """A bar for each value, from the lowest (or 0) up."""
    lowest, highest = min(0.0, *values), max(0.0, *values)
    step, span = WIDTH / len(values), highest - lowest or 1.0
    if highest == 0.0:  # dBov: loud is up
        lowest, span = min(values) - 1, 1 - min(values)
    bars = ""
    for at, value in enumerate(values):
        height = HEIGHT * (value - lowest) / span
        bars += f'<rect x="{at * step:.1f}" y="{HEIGHT - height:.1f}" width="{max(1.0, step - 1):.1f}" height="{height:.1f}"/>'
    caption = f"{html.escape(check)}: {html.escape(name)}, from {min(values):g} to {max(values):g}"
    svg = f'<svg role="img" aria-label="{caption}" width="{WIDTH}" height="{HEIGHT}" fill="#4878a8">{bars}</svg>'
    return f"<figure>{svg}<figcaption><small>{caption}</small></figcaption></figure>"
