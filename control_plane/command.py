"""`bellframe`: the command. Each subcommand is a row here and a file in control_plane/commands.

Modules are named as text and loaded when asked for, so that `bellframe status` feels instant: nothing here may
bring numba with it.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from control_plane.errors import BellframeError

COMMANDS = {
    #         module                            what it does
    "demo": ("control_plane.commands.demo", "phone the built-in agent, and watch: starts everything, leaves a recording and a picture"),
    "up": ("control_plane.commands.up", "run the server in the foreground"),
    "status": ("control_plane.commands.status", "is the server well: its processes and how many calls they carry"),
    "calls": ("control_plane.commands.calls", "the calls that are up"),
    "phones": ("control_plane.commands.phones", "the phones that have logged in"),
    "call": ("control_plane.commands.call", "call show ID: one call; call sip:...: dial out and watch"),
    "campaign": ("control_plane.commands.campaign", "call a list of numbers at a pace"),
    "trace": ("control_plane.commands.trace", "the SIP messages of a call, as a ladder"),
    "capture": ("control_plane.commands.capture", "the packets of a call, RTP, RTCP and SIP, for Wireshark"),
    "records": ("control_plane.commands.records", "the calls that have ended, and how"),
    "hangup": ("control_plane.commands.hangup", "end a call"),
    "hold": ("control_plane.commands.hold", "put the far end of a call on hold"),
    "resume": ("control_plane.commands.resume", "take the far end of a call back"),
    "transfer": ("control_plane.commands.transfer", "send the far end of a call elsewhere"),
    "join": ("control_plane.commands.join", "let the far ends of two calls speak with each other"),
    "conference": ("control_plane.commands.conference", "bring calls together: who talks, listens, whispers, waits with music"),
    "unjoin": ("control_plane.commands.unjoin", "take a call out of its room, back to its agent"),
    "record": ("control_plane.commands.record", "record a call, pause, or end the recording"),
    "voicemail": ("control_plane.commands.voicemail", "the messages that callers left"),
    "keys": ("control_plane.commands.keys", "press DTMF keys in a call"),
    "top": ("control_plane.commands.top", "workers and calls, live"),
    "doctor": ("control_plane.commands.doctor", "look for what usually breaks, and say what to do"),
    "soak": ("bench.soak.command", "prove that nothing leaks, ends or crosses, with a server of its own"),
    "capacity": ("bench.capacity", "measure how many calls of which kind this machine takes"),
    "install": ("control_plane.commands.install", "run under systemd: units, user, folders, a first configuration"),
    "certify": ("control_plane.commands.certify", "try what carriers ask before they accept traffic, and write the report to send"),
    "upgrade": ("control_plane.commands.upgrade", "replace every process by one of what is installed now; calls go on"),
    "route": ("control_plane.commands.route", "what would become of a call: who lets it in, which route takes it, and why"),
    "check": ("control_plane.commands.check", "is a configuration file right, and what it says in plain words"),
}
FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def usage() -> str:
    rows = "".join(f"  {name:<10} {text}\n" for name, (_, text) in COMMANDS.items())
    return f"usage: bellframe COMMAND ...\n\n{rows}\nbellframe COMMAND --help says more; bellframe --version says which release this is.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 it failed and stderr says what to do, 2 the command was written wrongly."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = run(words)
        sys.stdout.flush()
        return code
    except BellframeError as failure:
        print(f"bellframe {words[0]}: {failure}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `bellframe calls | head`: nobody reads on, and Python must not complain about it when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0 if words else WRONG_USAGE
    if words[0] in ("-V", "--version"):
        from control_plane.version import version

        print(f"bellframe {version()}")
        return 0
    if words[0] not in COMMANDS:
        print(f"bellframe: there is no command {words[0]!r}\n\n{usage()}", end="", file=sys.stderr)
        return WRONG_USAGE
    module = importlib.import_module(COMMANDS[words[0]][0])
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"bellframe {words[0]}", description=module.__doc__, formatter_class=as_written)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words[1:])))


if __name__ == "__main__":
    sys.exit(main())
