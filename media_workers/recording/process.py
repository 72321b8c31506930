"""The recorder's process: asks the keeper for the memory, looks every tenth of a second, and writes."""

import logging
import pathlib
import signal
import threading
import time

from control_plane.config import Config
from control_plane.errors import ConfigurationError, Exhausted
from control_plane.notify import notify, watchdog_interval_s
from media_workers.recording.recorder import Recorder
from media_workers.recording.warm_up import compile_all
from shm import counters, handover
from shm.layout import Rings

log = logging.getLogger("recorder")

LOOK_S = 0.1
KEEPER_LIMIT_S, ASK_AGAIN_S = 30.0, 0.05


def ask_keeper(runtime_directory: pathlib.Path) -> tuple[Rings, counters.Counters]:
    """Waits for the keeper to come up; raises Exhausted if it does not."""
    deadline = time.monotonic() + KEEPER_LIMIT_S
    while True:
        try:
            return handover.ask_as_recorder(runtime_directory)
        except OSError as failure:
            if time.monotonic() > deadline:
                path = handover.socket_path(runtime_directory)
                raise Exhausted(f"no keeper answers at {path} after {KEEPER_LIMIT_S:g} s: start media_workers first") from failure
            time.sleep(ASK_AGAIN_S)


def prepare(directory: str) -> pathlib.Path:
    """The folder of the recordings. Raises ConfigurationError if there is none and none can be made."""
    if not directory:
        raise ConfigurationError("recording.directory is empty, so there is nothing to do: name a folder, or do not start the recorder")
    path = pathlib.Path(directory)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failure:
        raise ConfigurationError(f"recording.directory: {path} cannot be made ({failure.strerror}): name another one") from failure
    return path


def run(config: Config) -> None:
    """Until SIGTERM. Raises BellframeError."""
    directory = prepare(config.recording.directory)
    compile_all()
    rings, views = ask_keeper(config.runtime_path())
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    recorder = Recorder(rings, views, directory, config.recording.format)
    recorder.take_over()
    notify(f"READY=1\nSTATUS=recordings go to {directory}")
    watchdog_s, next_pat = watchdog_interval_s(), 0.0
    while not stopping.wait(LOOK_S):
        recorder.step(time.monotonic_ns(), time.time_ns() - time.monotonic_ns())
        if watchdog_s and time.monotonic() >= next_pat:
            next_pat = time.monotonic() + watchdog_s
            notify("WATCHDOG=1")
    notify("STOPPING=1")
    recorder.step(time.monotonic_ns(), time.time_ns() - time.monotonic_ns())
    recorder.leave()
