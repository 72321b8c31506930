"""The runtime directory: made for us alone, and refused if somebody else could have a hand in it."""

import fcntl
import os
import pathlib
import stat

from control_plane.errors import ConfigurationError

MAX_PATH_BYTES = 90  # a Unix socket's path has 107, and our sockets get names below it


def prepare(directory: pathlib.Path) -> pathlib.Path:
    """Make it, mode 0700, if it is not there. Raises ConfigurationError if it is not ours or others may enter."""
    directory = pathlib.Path(os.path.abspath(directory))  # resolve() would follow a link that somebody planted
    if len(os.fsencode(directory)) > MAX_PATH_BYTES:
        raise ConfigurationError(f"runtime_directory: {directory} is too long for a socket: name one of at most {MAX_PATH_BYTES} bytes")
    for parent in reversed(directory.parents):
        if not parent.exists():
            _make(parent)
        found = parent.stat()
        # In a directory that others may write to, only the sticky bit keeps them from replacing ours.
        if found.st_uid not in (0, os.geteuid()) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise ConfigurationError(f"runtime_directory: others may replace what is in {parent}: name another directory")
    if not directory.exists():
        _make(directory)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(f"runtime_directory: {directory} is not a directory of our own: name another one")
    if found.st_mode & 0o077:
        raise ConfigurationError(f"runtime_directory: others may enter {directory}: chmod 700 it, or name another one")
    return directory


def _make(directory: pathlib.Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as failure:
        raise ConfigurationError(f"runtime_directory: {directory} cannot be made ({failure.strerror}): name another one") from failure


def lock(directory: pathlib.Path) -> int:
    """Hold the directory until the returned descriptor is closed. Raises ConfigurationError if a server runs in it."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as failure:
        os.close(fd)
        raise ConfigurationError(f"a server runs in {directory} already: stop it, or choose another with --runtime-dir") from failure
    os.truncate(fd, 0)
    os.write(fd, b"%d" % os.getpid())
    return fd


def holder(directory: pathlib.Path) -> int:
    """The process that runs a server in this directory, if `bellframe up` does; 0: nobody, or systemd."""
    try:
        fd = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return 0
    except BlockingIOError:
        return int(os.read(fd, 20) or 0)
    finally:
        os.close(fd)


def write_private(path: pathlib.Path, content: bytes) -> None:
    """Write a file that only we may read, at once or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    fresh.replace(path)
