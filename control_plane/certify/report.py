"""The report to send: Markdown for people, JSON for programs."""

import platform
import time

import msgspec

from control_plane.certify.checks import Result
from control_plane.version import version

SIGNS = {"passed": "passed", "failed": "**failed**", "not testable": "not testable"}


class Report(msgspec.Struct, frozen=True):
    far_end: str
    began_at: float
    """Seconds since the epoch."""
    ended_at: float
    release: str
    results: tuple[Result, ...]

    @property
    def is_good(self) -> bool:
        """Nothing failed. What could not be tested says so, and is no failure."""
        return all(result.outcome != "failed" for result in self.results)


def make(far_end: str, began_at: float, results: list[Result]) -> Report:
    return Report(far_end, began_at, time.time(), version(), tuple(results))


def json(report: Report) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def markdown(report: Report) -> str:
    def when(at: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))

    counts = {outcome: sum(result.outcome == outcome for result in report.results) for outcome in SIGNS}
    lines = [
        f"# Interoperability of {_cell(report.far_end)} with Bellframe {report.release}",
        "",
        f"{when(report.began_at)} to {when(report.ended_at)}, {platform.system()} {platform.release()} {platform.machine()}.",
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['not testable']} could not be tested from this side.",
        "",
        "| check | asked | outcome | found |",
        "|---|---|---|---|",
        *(f"| {result.name} | {result.asked} | {SIGNS[result.outcome]} | {_cell(result.found)} |" for result in report.results),
        "",
    ]
    figures = [result for result in report.results if result.figures]
    if figures:
        lines += ["| check | figures |", "|---|---|"]
        lines += [f"| {result.name} | {', '.join(f'{name} {value:g}' for name, value in result.figures.items())} |" for result in figures]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """What a far end said must not become a part of the table."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|")
