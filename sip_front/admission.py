"""How many calls may come, and which refusals get a line. A refusal says what to change; the far end gets the status only."""

import ipaddress
import logging
from typing import NamedTuple

log = logging.getLogger("sip")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_KNOWN_HOSTS = 4096  # verdicts and log times that are kept: a scan of the whole Internet must not fill memory
QUIET_NS = 10_000_000_000  # one line in this time for each host and status that is refused
LINES_PER_SECOND = 20  # of refusals, whoever sends: source addresses can be forged
REST_NS = 1_000_000_000  # one line in this time that counts what got none


class Refusal(NamedTuple):
    status: int
    """0: no answer at all."""
    text: str
    """For the operator: what is wrong and the remedy."""
    retry_after_s: int = 0
    more_headers: tuple[tuple[str, str], ...] = ()
    is_expected: bool = False
    """A challenge that any honest phone gets first: no line in the log, and no refused call."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Retry-After", str(self.retry_after_s)),) if self.retry_after_s else self.more_headers


def fold(host: str) -> IPAddress | None:
    """The address, an IPv4 one out of ::ffff:a.b.c.d, without the scope that a link-local one may have. None: no address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


class Admission:
    """`max_calls_per_second`: a token bucket that holds one second's worth."""

    def __init__(self, max_calls_per_second: float) -> None:
        self.rate = max_calls_per_second
        self.burst = max(1.0, max_calls_per_second)
        self.tokens, self.filled_at_ns = self.burst, 0
        self.is_draining = False
        self.drain_seconds = 30
        self.logged_ns: dict[tuple[str, str], int] = {}
        self.lines, self.lines_filled_at_ns = float(LINES_PER_SECOND), 0
        self.unlogged, self.rest_logged_ns = 0, 0

    def refuse_call(self, now_ns: int) -> Refusal | None:
        """None: the call may come, and has taken its token."""
        if self.is_draining:
            return Refusal(503, "503: this server is draining and takes no new calls; send them to another one", self.drain_seconds)
        self.tokens = min(self.burst, self.tokens + (now_ns - self.filled_at_ns) * self.rate / 1e9)
        self.filled_at_ns = now_ns
        if self.tokens < 1.0:
            return Refusal(
                503, f"503: more than {self.rate:g} calls a second; raise sip.max_calls_per_second if the machine can carry them", 1
            )
        self.tokens -= 1.0
        return None

    def is_worth_a_line(self, host: str, status: str, now_ns: int) -> bool:
        """Whether to log this refusal: a flood must not fill the disk. What the caller writes, as the number, is no part of it."""
        last_ns = self.logged_ns.get((host, status))
        self.lines = min(float(LINES_PER_SECOND), self.lines + (now_ns - self.lines_filled_at_ns) * LINES_PER_SECOND / 1e9)
        self.lines_filled_at_ns = now_ns
        if (last_ns is not None and now_ns - last_ns < QUIET_NS) or self.lines < 1.0:
            self.unlogged += 1
            return False
        self.lines -= 1.0
        if len(self.logged_ns) >= MAX_KNOWN_HOSTS:
            self.logged_ns.clear()
        self.logged_ns[host, status] = now_ns
        return True

    def log_the_rest(self, now_ns: int) -> None:
        """How many refusals got no line, at most once a second."""
        if self.unlogged and now_ns - self.rest_logged_ns >= REST_NS:
            log.warning("%d more refused like these", self.unlogged)
            self.unlogged, self.rest_logged_ns = 0, now_ns
