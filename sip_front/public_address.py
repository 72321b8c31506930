"""Our address as a STUN server sees it: asked at the start and again and again, because a NAT's address may change. No I/O.

The address alone is learnt. Which ports of it lead here is the NAT's configuration, not a guess of ours.
"""

import logging
import secrets

from control_plane import stun

log = logging.getLogger("stun")
SECOND = 1_000_000_000
FIRST_WAIT_NS, QUESTIONS = SECOND // 2, 5  # RFC 8489 6.2.1, but a server that is away is known after 15 s, not 40
RECHECK_NS = 60 * SECOND


class PublicAddress:
    """`server`: HOST:PORT as the configuration names it. `address`: empty until it is known; kept when the server goes away."""

    def __init__(self, server: str, address: str = "") -> None:
        self.server, self.address = server, address
        self.transaction_id = b""
        self.asked, self.wait_ns = 0, FIRST_WAIT_NS
        self.deadline_ns = 0
        """When to call `take` again."""
        self.is_failing = False

    @property
    def is_asking(self) -> bool:
        return bool(self.transaction_id)

    def take(self, now_ns: int) -> bytes | None:
        """The question, if it is time to ask it, for the first time or again."""
        if now_ns < self.deadline_ns:
            return None
        if self.asked == QUESTIONS:
            self.fail(f"it does not answer within {(2**QUESTIONS - 1) * FIRST_WAIT_NS / SECOND:g} s", now_ns)
            return None
        if not self.asked:
            self.transaction_id, self.wait_ns = secrets.token_bytes(stun.TRANSACTION_ID_BYTES), FIRST_WAIT_NS
        self.asked += 1
        self.deadline_ns, self.wait_ns = now_ns + self.wait_ns, 2 * self.wait_ns
        return stun.encode(stun.REQUEST, self.transaction_id)

    def receive(self, octets: bytes, now_ns: int) -> None:
        """A datagram of the server's; what is no answer to the question is passed over."""
        if not self.is_asking:
            return
        try:
            found = stun.read_answer(octets, self.transaction_id)
        except stun.BadStun as failure:
            self.fail(str(failure), now_ns)
            return
        if found is None:
            return
        self._rest(now_ns)
        if found[0] != self.address:
            before = f"; it was {self.address}: calls that are up keep the old one" if self.address else ""
            log.info("our public address is %s, says %s%s", found[0], self.server, before)
        elif self.is_failing:
            log.info("%s answers again: our public address is still %s", self.server, self.address)
        self.address, self.is_failing = found[0], False

    def fail(self, why: str, now_ns: int) -> None:
        self._rest(now_ns)
        if not self.is_failing:
            told = f"{self.address} stays in use" if self.address else "far ends are told the address of this machine until it does"
            remedy = "let UDP out to it, or write the address itself"
            log.warning("sip.public_address: no answer of stun:%s: %s; %s; %s", self.server, why, told, remedy)
        self.is_failing = True

    def _rest(self, now_ns: int) -> None:
        self.transaction_id, self.asked, self.deadline_ns = b"", 0, now_ns + RECHECK_NS
