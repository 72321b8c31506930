"""The descriptor store, with real descriptors."""

import os

from control_plane.fd_store import FdStore, clean_name


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_the_same_descriptor_is_kept_once_and_different_ones_each() -> None:
    store, memory, bells = FdStore(), os.memfd_create("test"), [os.eventfd(0), os.eventfd(0)]
    assert store.keep("memory", memory)
    again = os.dup(memory)
    assert not store.keep("memory", again) and not is_open(again)
    assert all(store.keep("bell", bell) for bell in bells), "all eventfds have one inode, yet they are two"
    assert not store.keep("bell", os.dup(bells[0]))
    assert store.held == [("memory", memory), ("bell", bells[0]), ("bell", bells[1])]
    store.remove("bell")
    assert store.held == [("memory", memory)] and not any(is_open(bell) for bell in bells)
    store.clear()
    assert store.held == [] and not is_open(memory)


def test_a_removed_one_may_come_back() -> None:
    store, fd = FdStore(), os.memfd_create("test")
    kept = os.dup(fd)
    store.keep("memory", kept)
    store.remove("memory")
    assert store.keep("memory", fd)
    store.clear()


def test_names_that_cannot_be_listed_become_stored() -> None:
    assert [clean_name(name) for name in ("rtp", "", "a:b", "a\nb", "x" * 256)] == ["rtp"] + ["stored"] * 4
