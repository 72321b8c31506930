"""Responses that we repeat until they are acknowledged: a 2xx until its ACK, a reliable 1xx until its PRACK."""

from sip_front.transaction import T1_NS, T2_NS, TIMEOUT_NS


class Unacknowledged:
    """Sent again at T1, 2 T1, ... until 64 T1. `longest_ns`: T2 for a 2xx (RFC 3261 13.3.1.4), no limit for a 1xx (RFC 3262 3)."""

    __slots__ = ("again_ns", "give_up_ns", "interval_ns", "longest_ns", "octets")

    def __init__(self, octets: bytes, now_ns: int, longest_ns: int = T2_NS) -> None:
        self.octets, self.interval_ns, self.longest_ns = octets, T1_NS, longest_ns
        self.again_ns, self.give_up_ns = now_ns + T1_NS, now_ns + TIMEOUT_NS

    @property
    def deadline_ns(self) -> int:
        return min(self.again_ns, self.give_up_ns)

    def repeat(self, now_ns: int) -> bool:
        """Whether it is time to send it again; then the next time is later."""
        if now_ns < self.again_ns:
            return False
        self.interval_ns = min(2 * self.interval_ns, self.longest_ns)
        self.again_ns = now_ns + self.interval_ns
        return True
