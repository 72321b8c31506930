"""Take the far end of a call back from hold, by a re-INVITE."""

import argparse

from control_plane.commands import hold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    hold.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns 1 where the far end refused; the call is then as it was."""
    return hold.run(arguments, is_held=False)
