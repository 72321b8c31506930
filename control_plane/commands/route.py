"""What would become of a call: who lets it in, which route takes it and why the ones before do not. Nothing is sent.

    bellframe route --to +4930123 --from +491701234567 --trunk carrier
    bellframe route --to 100 --source 192.0.2.7 --header X-Language=de --at 2026-12-24T20:00

Exit code 1 if the call would be refused.
"""

import argparse
import datetime
import ipaddress
import pathlib
import socket
import time

from control_plane import client, dry_run
from control_plane.config import Config
from control_plane.dry_run import Answer, Question
from control_plane.logs import clean
from control_plane.sources import Sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="NUMBER", help="the number called")
    parser.add_argument("--from", dest="caller", default="", metavar="NUMBER", help="the number that calls")
    parser.add_argument("--trunk", metavar="NAME", help='the trunk that it comes from; "" for none (default: as --source says)')
    parser.add_argument("--source", default="", metavar="ADDRESS", help="the address that it comes from, for allow lists")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="a header of the INVITE; again for more")
    parser.add_argument("--at", default="", metavar="TIME", help="when, as 2026-12-24T20:00 (default: now)")
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help="the configuration (default: that of the running server)")
    client.add_runtime_argument(parser)
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = client.load_configuration(arguments.config, client.runtime_directory(arguments.runtime_dir))
    at, source, headers = _when(arguments.at), _address(arguments.source), _headers(arguments.header)
    question = Question(arguments.to, at, arguments.caller, arguments.trunk, source, headers)
    answer = dry_run.run(settings, question, look_up(settings) if question.source else None)
    if arguments.json:
        client.print_json(answer)
    else:
        print(clean_lines(as_lines(answer)))
    return int(answer.status >= 300)


def as_lines(answer: Answer) -> list[str]:
    lines = [f"{'let in' if answer.admitted else 'refused'}: {answer.why}"]
    if not answer.admitted:
        return lines
    lines += [f"passed over {row.route}: {row.why}" for row in answer.passed_over]
    if not answer.route:
        return [*lines, f"refused: {answer.outcome}"]
    lines.append(f"{answer.route} takes it: {answer.outcome}")
    if answer.arguments:
        lines.append(f"arguments: {', '.join(f'{name}={value}' for name, value in answer.arguments.items())}")
    if not answer.status:
        lines.append(f"formats: {', '.join(answer.formats)}; SRTP {answer.srtp}")
    lines += [f"then {other}" for other in answer.otherwise]
    lines += [f"tenant: {answer.tenant}"] if answer.tenant else []
    return [*lines, *(f"limit: {limit}" for limit in answer.limits)]


def clean_lines(lines: list[str]) -> str:
    return "\n".join(clean(line, 500) for line in lines)


def look_up(settings: Config) -> dict[str, frozenset[str]]:
    """The addresses of host names in allow lists, as the server would find them."""
    found: dict[str, frozenset[str]] = {}
    for name in Sources(settings.trunks, settings.sip.allow).names:
        try:
            found[name] = frozenset(str(row[4][0]) for row in socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM))
        except OSError:
            found[name] = frozenset()
    return found


def _when(text: str) -> float:
    if not text:
        return time.time()
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError) as failure:
        raise client.CommandFailed(f'--at: "{text[:40]}" is no time such as 2026-12-24T20:00') from failure


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError as failure:
        raise client.CommandFailed(f'--source: "{text[:60]}" is no address such as 192.0.2.7') from failure


def _headers(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    wrong = next((name for name, equals, _ in pairs if not equals or not name), None)
    if wrong is not None:
        raise client.CommandFailed(f'--header: "{wrong[:60]}" is not NAME=VALUE')
    return {name.strip(): value for name, _, value in pairs}
