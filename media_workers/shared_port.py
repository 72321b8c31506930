"""Many calls on one port: whose call is a datagram? docs/decisions/0006-shared-port.md says why so.

The kernel tells calls apart by port. On a port that calls share a table does, which only an offer or answer, or a packet that
has proved its keys, can write into:

    the address that a call's SDP named, or that it is locked to     -> the call
    such an address and an SSRC, where several calls name the same   -> the call; each of them must have named its SSRC (RFC 5576)
    an SSRC alone, named in an SDP while the call has not locked     -> the call, for a far end behind NAT
    an SSRC alone, proved by SRTP keys                               -> the call, for a far end that moved

Whoever the table finds is asked as on a port of its own (source.py, srtp.py): the table chooses whose rules hold, and opens no
door. What it does not find belongs to nobody. RTCP's addresses are kept apart from RTP's.

The table is open addressing, by linear probing, in shared memory, for each worker its own. Rows are the truth: a successor
makes it anew from them, because a worker may be killed between two of its stores.
"""

import numpy as np
import numpy.typing as npt

from media_workers import source
from media_workers.srtp import CLEAR
from shm.jit import njit

WORDS = 5
"""Of an entry: the three words of an address (source.py), the SSRC or ANY, and the row plus one."""
SSRC_WORD, VALUE = 3, 4
"""VALUE 0: the entry is free. Below 0, at (address, ANY): so many calls share the address, and are told apart by SSRC."""
ANY = -1
RTCP_KIND = 1 << 40  # in an address's first word, above family and port
ENTRIES_PER_CALL = 8  # three are usual and seven possible: probes stay short
NOBODY = -1
FREE = 0


def slots_for(calls: int) -> int:
    """A power of two; 1 where no calls share a port."""
    return 1 << (ENTRIES_PER_CALL * calls - 1).bit_length() if calls else 1


def table_bytes(calls: int) -> int:
    return slots_for(calls) * WORDS * 8


# ---- the table -----------------------------------------------------------------------------------------------------


@njit
def _home(table, w0, w1, w2, ssrc):
    """Where the search for a key begins. Small factors: nothing overflows, compiled or not."""
    mixed = 0
    for word in (w0, w1 & 0x7FFFFFFF, (w1 >> 31) & 0x7FFFFFFF, w2 & 0x7FFFFFFF, (w2 >> 31) & 0x7FFFFFFF, ssrc):
        mixed = ((mixed ^ (word & 0x7FFFFFFF) ^ ((word >> 31) & 0x7FFFFFFF)) * 0x5BD1E995) & 0x7FFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 23)) & 0x7FFFFFFF
    return mixed & (table.shape[0] - 1)


@njit
def _slot(table, w0, w1, w2, ssrc):
    """The slot that holds this key, or the free one where it would go."""
    mask = table.shape[0] - 1
    at = _home(table, w0, w1, w2, ssrc)
    while table[at, VALUE] != FREE:
        entry = table[at]
        if entry[0] == w0 and entry[1] == w1 and entry[2] == w2 and entry[SSRC_WORD] == ssrc:
            return at
        at = (at + 1) & mask
    return at


@njit
def _put(table, w0, w1, w2, ssrc, value):
    entry = table[_slot(table, w0, w1, w2, ssrc)]
    entry[0] = w0
    entry[1] = w1
    entry[2] = w2
    entry[SSRC_WORD] = ssrc
    entry[VALUE] = value


@njit
def _remove(table, at):
    """Free a slot, and move up what a search would no longer find behind it."""
    mask = table.shape[0] - 1
    hole, following = at, (at + 1) & mask
    while table[following, VALUE] != FREE:
        entry = table[following]
        home = _home(table, entry[0], entry[1], entry[2], entry[SSRC_WORD])
        if (following - home) & mask >= (following - hole) & mask:
            for i in range(WORDS):
                table[hole, i] = entry[i]
            hole = following
        following = (following + 1) & mask
    table[hole, VALUE] = FREE


# ---- whose is it -----------------------------------------------------------------------------------------------------


@njit
def find(table, address, kind, ssrc):
    """The row of the call whose datagram this may be, or NOBODY. `kind`: 0 on the RTP port, RTCP_KIND on the other."""
    value = table[_slot(table, address[0] | kind, address[1], address[2], ANY), VALUE]
    if value < 0:
        value = table[_slot(table, address[0] | kind, address[1], address[2], ssrc), VALUE]
    if value == FREE:
        value = table[_slot(table, 0, 0, 0, ssrc), VALUE]
    return value - 1 if value > 0 else NOBODY


@njit
def has_room(worker, row, address, ssrc):
    """Could a call with this address and this SSRC (ANY: it has named none) be told from the others? `row`: it may have a place already."""
    table = worker.table
    value = table[_slot(table, address[0], address[1], address[2], ANY), VALUE]
    if value == FREE or value == row + 1:
        return True
    if ssrc == ANY:
        return False
    holder = table[_slot(table, address[0], address[1], address[2], ssrc), VALUE]
    if value < 0:
        return holder == FREE or holder == row + 1
    other = worker.calls[value - 1]
    keeps_its_word = other["rx"]["is_started"] == 0 or other["rx"]["ssrc"] == other["remote_ssrc"]
    return other["remote_ssrc"] != ANY and other["remote_ssrc"] != ssrc and keeps_its_word


# ---- calls come, move and go -------------------------------------------------------------------------------------------


@njit
def _enter_at(worker, row, w0, address):
    """One address of a call into the table; left out where the call could not be told from others there."""
    table, ssrc = worker.table, worker.calls[row]["remote_ssrc"]
    at = _slot(table, w0, address[1], address[2], ANY)
    value = table[at, VALUE]
    if value == FREE:
        _put(table, w0, address[1], address[2], ANY, row + 1)
        return
    if value == row + 1 or ssrc == ANY:
        return
    if table[_slot(table, w0, address[1], address[2], ssrc), VALUE] != FREE:
        return
    if value > 0:
        other_ssrc = worker.calls[value - 1]["remote_ssrc"]
        if other_ssrc in (ANY, ssrc):
            return
        _put(table, w0, address[1], address[2], other_ssrc, value)
        table[at, VALUE] = value = -1
    _put(table, w0, address[1], address[2], ssrc, row + 1)
    table[at, VALUE] = value - 1


@njit
def _leave_at(worker, row, w0, address):
    table, ssrc = worker.table, worker.calls[row]["remote_ssrc"]
    at = _slot(table, w0, address[1], address[2], ANY)
    value = table[at, VALUE]
    if value == row + 1:
        _remove(table, at)
    elif value < 0:
        own = _slot(table, w0, address[1], address[2], ssrc)
        if table[own, VALUE] != row + 1:
            return
        _remove(table, own)
        at = _slot(table, w0, address[1], address[2], ANY)  # it may have moved up
        if value == -1:
            _remove(table, at)
        else:
            table[at, VALUE] = value + 1


@njit
def enter(worker, row):
    """All that the row says of its far end into the table."""
    call = worker.calls[row]
    signalled, locked = call["source"]["signalled"], call["source"]["locked"]
    if signalled[0] != 0:
        _enter_at(worker, row, signalled[0], signalled)
        _enter_at(worker, row, _rtcp_word(call), signalled)
    if locked[0] != 0 and not source.is_same(locked, signalled):
        _enter_at(worker, row, locked[0], locked)
    ssrc, may_move = call["remote_ssrc"], locked[0] == 0 or call["srtp"]["suite"] != CLEAR
    if may_move and ssrc != ANY and worker.table[_slot(worker.table, 0, 0, 0, ssrc), VALUE] == FREE:
        _put(worker.table, 0, 0, 0, ssrc, row + 1)


@njit
def leave(worker, row):
    """Before the row says something else of its far end, or is free."""
    call = worker.calls[row]
    signalled, locked = call["source"]["signalled"], call["source"]["locked"]
    if signalled[0] != 0:
        _leave_at(worker, row, signalled[0], signalled)
        _leave_at(worker, row, _rtcp_word(call), signalled)
    if locked[0] != 0 and not source.is_same(locked, signalled):
        _leave_at(worker, row, locked[0], locked)
    _forget_ssrc(worker, row)


@njit
def _forget_ssrc(worker, row):
    at = _slot(worker.table, 0, 0, 0, worker.calls[row]["remote_ssrc"])
    if worker.table[at, VALUE] == row + 1:
        _remove(worker.table, at)


@njit
def _rtcp_word(call):
    """The first word of the address that the far end's reports come from, if they have a port of their own."""
    return call["source"]["signalled"][0] >> 16 << 16 | call["rtcp"]["port"] | RTCP_KIND


@njit
def follow_lock(worker, row, before):
    """The call has locked to another address than `before`."""
    source_of_call = worker.calls[row]["source"]
    signalled, locked = source_of_call["signalled"], source_of_call["locked"]
    if source.is_same(before, locked):
        return
    if before[0] != 0 and not source.is_same(before, signalled):
        _leave_at(worker, row, before[0], before)
    if locked[0] != 0 and not source.is_same(locked, signalled):
        _enter_at(worker, row, locked[0], locked)
    if worker.calls[row]["srtp"]["suite"] == CLEAR:
        _forget_ssrc(worker, row)  # from now on no address but its own is its


@njit
def follow_ssrc(worker, row, ssrc):
    """A packet has proved by its keys that this is the far end's SSRC now: it is known by it wherever it moves."""
    if worker.calls[row]["remote_ssrc"] != ssrc:
        leave(worker, row)
        worker.calls[row]["remote_ssrc"] = ssrc
        enter(worker, row)


@njit
def enter_all(worker, first, count, free_state):
    """In a worker that takes over: the whole table anew, from the rows."""
    worker.table[:, :] = 0
    for row in range(first, first + count):
        if worker.calls[row]["is_port_shared"] != 0 and worker.calls[row]["state"] != free_state:
            enter(worker, row)


def address_words(host: str, port: int) -> npt.NDArray[np.int64]:
    """What an SDP names, as the table knows it; zeros where it names nothing."""
    words = np.zeros(3, np.int64)
    if host and port:
        octets = np.frombuffer(source.sockaddr(host, port), np.uint8)
        padded = np.zeros(source.SOCKADDR_BYTES, np.uint8)
        padded[: octets.size] = octets
        source.read_sockaddr(padded, words)
    return words
