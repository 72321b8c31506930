"""Make this machine run Bellframe under systemd: units, a user, folders and a first configuration. Run as root; running it again
changes what a new release changed, and nothing else.

    bellframe install --dry-run     what it would do
    bellframe install
    bellframe install --undo        takes back what it did; a configuration that you edited stays
"""

import argparse
import pathlib

from control_plane import install
from control_plane.errors import BellframeError

HIDDEN_HOMES = ("/home/", "/root/", "/run/user/", "/tmp/")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--undo", action="store_true", help="take back what was done")
    root = pathlib.Path("/")
    parser.add_argument("--root", type=pathlib.Path, default=root, metavar="DIR", help="stage the files below DIR, for a package")
    parser.add_argument("--prefix", type=pathlib.Path, metavar="DIR", help="the environment that the units start (default: this one)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    prefix = arguments.prefix or install.environment()
    if arguments.root == pathlib.Path("/") and not arguments.undo and f"{prefix}/".startswith(HIDDEN_HOMES):
        raise BellframeError(
            f"{prefix} is hidden from services (ProtectHome=, PrivateTmp=): install Bellframe into {install.SHIPPED_PREFIX}, "
            f"python3 -m venv {install.SHIPPED_PREFIX} && {install.SHIPPED_PREFIX}/bin/pip install bellframe"
        )
    if not arguments.dry_run and not install.may_change(arguments.root):
        raise BellframeError(f"{arguments.root}etc cannot be written: run this as root, or look first with --dry-run")
    steps, take = install.plan(arguments.root, prefix), _undo if arguments.undo else _do
    told = [take(step, arguments.dry_run) for step in (reversed(steps) if arguments.undo else steps)]
    if arguments.json:
        from control_plane import client

        client.print_json([{"step": step, "state": state} for state, step in told])
        return 0
    for state, step in told:
        print(f"{state:<12} {step}")
    if not arguments.undo and arguments.root == pathlib.Path("/"):
        print(f"\nedit /{install.CONFIGURATION}, then: bellframe check /{install.CONFIGURATION} && systemctl start bellframe.target")
    return 0


def _do(step: install.Step, is_dry: bool) -> tuple[str, str]:
    if step.is_done():
        return "is there", step.what
    if is_dry:
        return "would make", step.what
    step.do()
    return "made", step.what


def _undo(step: install.Step, is_dry: bool) -> tuple[str, str]:
    if not step.is_done():
        return "not there", step.what
    if is_dry:
        return "would undo", step.what
    step.undo()
    return ("kept", step.what) if step.is_done() else ("undone", step.what)
