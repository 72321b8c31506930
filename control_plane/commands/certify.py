"""Try what carriers ask before they accept traffic, through the server that runs, and write the report to send.

    bellframe certify mycarrier --to +4930123456 --busy +4930123457 --ringing +4930123458 --long 60
    bellframe certify sip:echo@192.0.2.1

OPTIONS, registration, each codec alone, keys both ways, hold and resume, early media, CANCEL, busy, a long call, session timer, load,
failover. What cannot be seen from this side is said to be so. A number that echoes shows the most. Exit code 1: something failed.
"""

import argparse
import pathlib
import time

from control_plane import client
from control_plane.certify import checks, page, report
from control_plane.certify.checks import Result, Wanted
from control_plane.certify.line import Line

MARKS = {"passed": "passed", "failed": "FAILED", "not testable": "-"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("far_end", metavar="TRUNK|sip:URI", help="a trunk of the configuration, or whom to call directly")
    parser.add_argument("--to", default="", metavar="NUMBER", help="the number called through the trunk")
    parser.add_argument("--caller", default="", metavar="NUMBER", help="who calls (default: as the trunk has it)")
    parser.add_argument("--busy", default="", metavar="NUMBER", help="one that is busy")
    parser.add_argument("--ringing", default="", metavar="NUMBER", help="one that rings for a while")
    parser.add_argument("--codecs", default="", metavar="LIST", help="such as PCMU,G722 (default: the configured ones)")
    parser.add_argument("--long", type=float, default=0.5, metavar="MINUTES", help="of the long call (default 0.5; carriers ask 60)")
    parser.add_argument("--rate", type=float, default=2.0, metavar="CPS", help="calls a second of the load (default 2)")
    parser.add_argument("--calls", type=int, default=10, metavar="N", help="calls of the load (default 10)")
    files = "Markdown, and the same as .json and .html"
    parser.add_argument("--report", type=pathlib.Path, default=pathlib.Path("certify.md"), metavar="FILE", help=files)
    client.add_runtime_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = client.runtime_directory(arguments.runtime_dir)
    settings = client.load_configuration(None, directory)
    is_uri = arguments.far_end.lower().startswith(("sip:", "sips:"))
    trunk = next((trunk for trunk in settings.trunks if trunk.name == arguments.far_end), None)
    if not is_uri and trunk is None:
        names = ", ".join(trunk.name for trunk in settings.trunks) or "none"
        raise client.CommandFailed(f"{arguments.far_end} is neither a SIP URI nor one of [[trunks]]: there are {names}")
    if trunk and not arguments.to:
        raise client.CommandFailed("say which number to call through the trunk: --to NUMBER")
    formats = tuple(filter(None, arguments.codecs.upper().split(","))) or (trunk.formats if trunk else ()) or settings.media.formats
    line = Line(directory, trunk.name if trunk else "", arguments.to or arguments.far_end, arguments.caller)
    line.status()  # raises if there is no server
    wanted = Wanted(
        formats, arguments.long, arguments.busy, arguments.ringing, arguments.rate, arguments.calls, settings.sip.session_expires_seconds
    )
    began_at = time.time()
    made = report.make(arguments.far_end, began_at, checks.run(line, wanted, show))
    arguments.report.write_text(report.markdown(made))
    arguments.report.with_suffix(".json").write_bytes(report.json(made))
    arguments.report.with_suffix(".html").write_text(page.page(made))
    files = ", ".join(str(arguments.report.with_suffix(suffix)) for suffix in (arguments.report.suffix, ".html", ".json"))
    print(f"{'nothing failed' if made.is_good else 'something failed'}; {files}")
    return 0 if made.is_good else 1


def show(result: Result) -> None:
    print(f"{MARKS[result.outcome]:<7} {result.name:<16} {result.found}", flush=True)
