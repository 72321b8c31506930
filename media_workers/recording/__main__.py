"""`python -m media_workers.recording --config FILE`: writes the recordings of calls."""

import argparse
import logging
import pathlib
import sys

from control_plane import config, logs
from control_plane.errors import BellframeError


def main() -> int:
    parser = argparse.ArgumentParser(prog="media_workers.recording", description=__doc__)
    parser.add_argument("--config", type=pathlib.Path, required=True)
    try:
        settings = config.load(parser.parse_args().config)
        logs.configure(settings.log_format, "recorder")
        from media_workers.recording import process  # after the checks: this import takes a second

        process.run(settings)
    except BellframeError as failure:
        logging.getLogger("recorder").error("%s", failure)
        return 2
    return 0


sys.exit(main())
