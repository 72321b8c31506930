"""Our registration at a trunk's registrar, as a table without I/O: RFC 3261 10.2, with the back-off of RFC 5626 4.5.

Digest is not here: the user agent answers 401 and 407 before a response comes to this table. What comes is final.
"""

import enum
import random
from collections.abc import Callable
from typing import NamedTuple

from sip_front.deadlines import Place
from sip_front.header import BadMessage
from sip_front.message import Response, parse_name_address
from sip_front.uri import BadUri, parse_number, parse_uri, quoted

SECOND = 1_000_000_000
FIRST_WAIT_S, LONGEST_WAIT_S = 4, 300  # after a failure: the registrar may be restarting
FIRST_REFUSED_WAIT_S, LONGEST_REFUSED_WAIT_S = 60, 1800  # after a refusal: carriers lock out who keeps trying a wrong password
LONGEST_EXPIRES_S = 86_400  # what a registrar may make us wait for
REFRESH_AT = 0.75, 0.9  # of the time given: spread, so that many do not come at once; a lost refresh can be repeated
SHORTEST_REFRESH_S = 5


class State(enum.Enum):
    IDLE, TRYING, REGISTERED, REFRESHING, WAITING, LEAVING, GONE = range(7)


class Cause(enum.Enum):
    START, ACCEPTED, TOO_BRIEF, REFUSED, FAILED, TIMER, LEAVE = range(7)


class Order(NamedTuple):
    """A REGISTER to be sent to the gateway with this number. `expires_s` 0 takes our Contact away."""

    gateway: int
    expires_s: int


Action = Callable[["Registration", int], None]


def send(one: "Registration", _now_ns: int) -> None:
    one.outbox.append(Order(one.gateway, one.expires_s))


def send_goodbye(one: "Registration", _now_ns: int) -> None:
    one.outbox.append(Order(one.gateway, 0))


def refresh_later(one: "Registration", now_ns: int) -> None:
    one.failures, one.gateways_tried, one.why = 0, 0, ""
    one.expires_ns = now_ns + one.given_s * SECOND
    share = one.random.uniform(*REFRESH_AT)
    one.deadline_ns = now_ns + round(max(min(SHORTEST_REFRESH_S, one.given_s / 2), one.given_s * share) * SECOND)


def ask_longer(one: "Registration", now_ns: int) -> None:
    """423: once for each registration; a registrar that keeps asking for more is waited for like any refusal."""
    send(one, now_ns)


def try_next(one: "Registration", now_ns: int) -> None:
    """The next gateway at once; after the last one, a pause."""
    one.gateway = (one.gateway + 1) % one.gateway_count
    one.gateways_tried += 1
    if one.gateways_tried < one.gateway_count:
        send(one, now_ns)
        return
    one.gateways_tried = 0
    one.state = WAITING
    one.wait(now_ns, FIRST_WAIT_S, LONGEST_WAIT_S)


def wait_long(one: "Registration", now_ns: int) -> None:
    one.gateways_tried = 0
    one.wait(now_ns, FIRST_REFUSED_WAIT_S, LONGEST_REFUSED_WAIT_S)


IDLE, TRYING, REGISTERED, REFRESHING, WAITING, LEAVING, GONE = State
TRANSITIONS: dict[tuple[State, Cause], tuple[State, tuple[Action, ...]]] = {  # a pair that is absent changes nothing
    (IDLE, Cause.START): (TRYING, (send,)),
    (IDLE, Cause.LEAVE): (GONE, ()),
    (TRYING, Cause.ACCEPTED): (REGISTERED, (refresh_later,)),
    (TRYING, Cause.TOO_BRIEF): (TRYING, (ask_longer,)),
    (TRYING, Cause.REFUSED): (WAITING, (wait_long,)),
    (TRYING, Cause.FAILED): (TRYING, (try_next,)),
    (TRYING, Cause.LEAVE): (LEAVING, (send_goodbye,)),  # it may have arrived
    (REGISTERED, Cause.TIMER): (REFRESHING, (send,)),
    (REGISTERED, Cause.LEAVE): (LEAVING, (send_goodbye,)),
    (REFRESHING, Cause.ACCEPTED): (REGISTERED, (refresh_later,)),
    (REFRESHING, Cause.TOO_BRIEF): (REFRESHING, (ask_longer,)),
    (REFRESHING, Cause.REFUSED): (WAITING, (wait_long,)),
    (REFRESHING, Cause.FAILED): (TRYING, (try_next,)),
    (REFRESHING, Cause.LEAVE): (LEAVING, (send_goodbye,)),
    (WAITING, Cause.TIMER): (TRYING, (send,)),
    (WAITING, Cause.LEAVE): (GONE, ()),
    (LEAVING, Cause.ACCEPTED): (GONE, ()),
    (LEAVING, Cause.TOO_BRIEF): (GONE, ()),
    (LEAVING, Cause.REFUSED): (GONE, ()),
    (LEAVING, Cause.FAILED): (GONE, ()),
}


class Registration:
    """After each call, send `outbox` and return by `deadline_ns`."""

    def __init__(self, trunk: str, gateway_count: int, expires_s: int, chance: random.Random | None = None) -> None:
        self.trunk, self.gateway_count, self.wanted_s = trunk, gateway_count, expires_s
        self.random = chance or random.Random()
        self.state = IDLE
        self.expires_s = expires_s
        self.given_s = 0
        self.gateway = self.gateways_tried = self.failures = 0
        self.expires_ns = 0
        """Until when the registrar knows us."""
        self.why = ""
        """What went wrong last, with the remedy; empty while it goes well."""
        self.deadline_ns: int | None = None
        self.place: Place | None = None
        self.outbox: list[Order] = []

    def step(self, cause: Cause, now_ns: int) -> None:
        row = TRANSITIONS.get((self.state, cause))
        if row is None:
            return
        self.deadline_ns = None
        self.state, actions = row
        for action in actions:
            action(self, now_ns)

    def receive(self, response: Response | None, contact_uri: str, now_ns: int, why: str = "") -> None:
        """The final response to the last order; None: there was none, and `why` may say more. `contact_uri`: what we registered."""
        if response is None:
            self._fail(why or "no response", now_ns)
        elif response.status < 300:
            self._accept(response, contact_uri, now_ns)
        elif response.status == 423:
            self._lengthen(response, now_ns)
        elif response.status in (408, 480) or response.status >= 500:
            self._fail(f"{response.status} {response.reason}", now_ns)
        else:
            self.why = why or explain(self.trunk, response)
            self.step(Cause.REFUSED, now_ns)

    def expire(self, now_ns: int) -> None:
        if self.deadline_ns is not None and now_ns >= self.deadline_ns:
            self.step(Cause.TIMER, now_ns)

    def renew(self, now_ns: int) -> None:
        """Sooner than it is due. One that is under way, or was refused, is not hurried."""
        if self.state is REGISTERED and self.deadline_ns is not None:
            self.deadline_ns = min(self.deadline_ns, now_ns)

    def take_outbox(self) -> list[Order]:
        orders, self.outbox = self.outbox, []
        return orders

    def is_known(self, now_ns: int) -> bool:
        """The registrar would send calls here now: also while a refresh is under way or has failed."""
        return self.state not in (LEAVING, GONE) and now_ns < self.expires_ns

    def wait(self, now_ns: int, first_s: float, longest_s: float) -> None:
        """Doubled for each failure in a row; half to all of it, so that many do not come back at once."""
        limit_s = min(longest_s, first_s * 2 ** min(self.failures, 16))
        self.failures += 1
        self.deadline_ns = now_ns + round(self.random.uniform(limit_s / 2, limit_s) * SECOND)

    def _fail(self, why: str, now_ns: int) -> None:
        self.why = f"{why}; the registrar of trunk {self.trunk} is down or cannot be reached: look at its address, routes and firewalls"
        self.step(Cause.FAILED, now_ns)

    def _accept(self, response: Response, contact_uri: str, now_ns: int) -> None:
        if self.state is LEAVING:
            self.expires_ns = 0
            self.step(Cause.ACCEPTED, now_ns)
            return
        given_s = given_expiry(response, contact_uri, self.expires_s)
        if given_s == 0:
            self.why = f"trunk {self.trunk} answers 200, but keeps no registration of ours; may the account register? Ask the carrier"
            self.step(Cause.REFUSED, now_ns)
            return
        self.given_s = min(given_s, LONGEST_EXPIRES_S)
        self.step(Cause.ACCEPTED, now_ns)

    def _lengthen(self, response: Response, now_ns: int) -> None:
        least_s = parse_number(response.headers.get("Min-Expires") or "", LONGEST_EXPIRES_S)
        if least_s is None or least_s <= self.expires_s:
            self.why = f"423 from trunk {self.trunk} without a Min-Expires above the {self.expires_s} s asked for; raise register_seconds"
            self.step(Cause.REFUSED, now_ns)
            return
        self.expires_s = least_s
        self.step(Cause.TOO_BRIEF, now_ns)


def explain(trunk: str, response: Response) -> str:
    head = f"{response.status} {quoted(response.reason)[1:-1]} from the registrar of trunk {trunk}"
    remedies = {
        403: "the account may not register, or not from this address; ask the carrier",
        404: "it does not know the user; look at username, from_user and from_domain",
        405: "it takes no registrations: the trunk goes by address; write register = false",
    }
    return f"{head}: {remedies.get(response.status, 'the registrar refuses; ask the carrier with this status')}"


def given_expiry(response: Response, contact_uri: str, asked_s: int) -> int:
    """Seconds that the registrar gives our Contact (10.2.4). 0: not kept. A single other one is ours, rewritten on the way."""
    overall = parse_number((response.headers.get("Expires") or "").strip(), 2**32 - 1)
    default_s = asked_s if overall is None else overall
    contacts = []
    for value in response.headers.get_all("Contact"):
        try:
            contact = parse_name_address(value)
            contacts.append((place(contact.uri), parse_number(contact.params.get("expires") or "", 2**32 - 1)))
        except (BadMessage, BadUri):
            continue  # of another phone
    own = [seconds for uri, seconds in contacts if uri == place(contact_uri)]
    if not own and len(contacts) > 1:
        return 0
    found = own or [seconds for _, seconds in contacts]
    return default_s if not found or found[0] is None else found[0]


def place(uri: str) -> tuple[str, str, int]:
    """What makes two Contacts the same (19.1.4, as far as registrars keep to it). Raises BadUri."""
    parsed = parse_uri(uri)
    return parsed.user, parsed.host.lower(), parsed.port or 5060
