"""`python -m media_workers --config FILE`: the keeper and its workers."""

import argparse
import logging
import pathlib
import sys

from control_plane import config, logs
from control_plane.errors import ConfigurationError


def main() -> int:
    parser = argparse.ArgumentParser(prog="media_workers", description=__doc__)
    parser.add_argument("--config", type=pathlib.Path, required=True)
    try:
        settings = config.load(parser.parse_args().config)
        logs.configure(settings.log_format, "keeper")
        from media_workers.keeper import Keeper  # after the checks: this import takes a second

        settings.runtime_path().mkdir(mode=0o700, parents=True, exist_ok=True)
        keeper = Keeper(settings)
        keeper.compile()
        keeper.run()
    except ConfigurationError as failure:
        logging.getLogger("keeper").error("%s", failure)
        return 2
    return 0


sys.exit(main())
