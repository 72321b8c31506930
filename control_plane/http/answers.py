"""Idempotency keys: the same order again gets the same answer, and no second call.

The call's id is made from the key, and the front takes the same id for the same call: so a key holds even if this
process was replaced meanwhile. What is kept here is the answer, and what was asked, to tell a key that is used twice.
"""

import hashlib
from collections import OrderedDict
from typing import NamedTuple

from control_plane.http.problem import Refusal

MAX_ANSWERS = 10_000
MAX_KEY = 255


class Answer(NamedTuple):
    fingerprint: bytes
    """Of what was asked."""
    body: bytes
    """Empty: it is under way."""


class Answers:
    def __init__(self) -> None:
        self.kept: OrderedDict[str, Answer] = OrderedDict()
        """By call id."""

    def find(self, call_id: str, asked: bytes) -> bytes:
        """The answer that the same order got; empty: it is new or under way. Raises Refusal if it was another order."""
        fingerprint = hashlib.sha256(asked).digest()
        known = self.kept.get(call_id)
        if known is None:
            self.kept[call_id] = Answer(fingerprint, b"")
            while len(self.kept) > MAX_ANSWERS:
                self.kept.popitem(last=False)
            return b""
        if known.fingerprint != fingerprint:
            raise Refusal(422, "this Idempotency-Key was used for another order: take a new key for a new call")
        return known.body

    def keep(self, call_id: str, asked: bytes, body: bytes) -> None:
        self.kept[call_id] = Answer(hashlib.sha256(asked).digest(), body)

    def forget(self, call_id: str) -> None:
        """It failed: the same key may try again."""
        self.kept.pop(call_id, None)


def call_id_of(key: str, bearer: bytes) -> str:
    """The same for the same key of the same bearer. Raises Refusal for a key that is none."""
    if not 0 < len(key) <= MAX_KEY or not all(" " <= c <= "~" for c in key):
        raise Refusal(400, f"Idempotency-Key: send 1 to {MAX_KEY} printable ASCII characters, such as a UUID")
    return "out-" + hashlib.sha256(bearer + b"\0" + key.encode()).hexdigest()[:32]
