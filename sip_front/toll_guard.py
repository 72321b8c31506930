"""What keeps a stolen token from ringing up a bill: calls a minute, calls to one number, and what a day may cost.

Prices are ours, not the carrier's: a minute counts when it begins, and the first one when the call is made, so that calls at the same
time cannot exceed a cap together. A call whose next minute would is ended. What was spent is kept across restarts (spend_file.py).
"""

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from control_plane.tenant_config import Tenant
from sip_front.call import Call, Cause, State
from sip_front.trunk import Trunk

if TYPE_CHECKING:
    from sip_front.front import Front

log = logging.getLogger("toll")
SECOND = 1_000_000_000
MINUTE_NS, HOUR_NS = 60 * SECOND, 3600 * SECOND
MAX_NUMBERS = 50_000  # that are remembered as called within the last hour
WARN_AT = 0.8
EPSILON = 1e-9  # of sums of prices, which are not exact


class Spent(msgspec.Struct):
    """What is kept: on which day (UTC), and by whom how much."""

    day: str = ""
    by: dict[str, float] = {}


class Account:
    """A trunk's, or a tenant's."""

    def __init__(self, name: str, per_minute: int, per_number: int, cap: float) -> None:
        self.name, self.per_minute, self.per_number, self.cap = name, per_minute, per_number, cap
        self.made: deque[int] = deque()
        """When calls were made, within the last minute."""
        self.numbers: dict[str, deque[int]] = {}
        """The same of each number, within the last hour; the one called last at the end."""

    def why_too_many(self, number: str, now_ns: int) -> str:
        """Empty: one more may be made."""
        while self.made and now_ns - self.made[0] >= MINUTE_NS:
            self.made.popleft()
        if self.per_minute and len(self.made) >= self.per_minute:
            return f"503: {self.name} has made {self.per_minute} calls within a minute, its max_calls_per_minute; raise it if needed"
        times = self.numbers.get(number, ())
        if self.per_number and sum(now_ns - at_ns < HOUR_NS for at_ns in times) >= self.per_number:
            limit = f"{self.per_number} times within an hour, its max_calls_per_number_per_hour"
            return f"403: {self.name} has called {number} {limit}; raise it if more are meant"
        return ""

    def note(self, number: str, now_ns: int) -> None:
        if self.per_minute:
            self.made.append(now_ns)
        if self.per_number:
            times = self.numbers.pop(number, None) or deque(maxlen=self.per_number)
            times.append(now_ns)
            self.numbers[number] = times
            if len(self.numbers) > MAX_NUMBERS:
                del self.numbers[next(iter(self.numbers))]


class Meter:
    """Of one call that costs."""

    __slots__ = ("accounts", "minutes", "price")

    def __init__(self, price: float, accounts: list[Account]) -> None:
        self.price, self.accounts, self.minutes = price, accounts, 1


class TollGuard:
    def __init__(self, trunks: list[Trunk], tenants: tuple[Tenant, ...]) -> None:
        self.trunks = {
            trunk.name: Account(
                f"trunk {trunk.name}", trunk.config.max_calls_per_minute, trunk.config.max_calls_per_number_per_hour,
                trunk.config.max_spend_per_day,
            )
            for trunk in trunks
        }  # fmt: skip
        self.tenants = {one.name: Account(f"tenant {one.name}", one.max_calls_per_minute, 0, one.max_spend_per_day) for one in tenants}
        self.meters: dict[str, Meter] = {}
        self.spent = Spent()
        self.has_changed = False
        self.warned: set[str] = set()

    # ---- may this call be made ---------------------------------------------------------------------------------------

    def why_not(self, trunk: Trunk, tenant: str, number: str, now_ns: int, at: float) -> str:
        """`number`: as it is known everywhere. `at`: seconds since the epoch. Empty: it may be made."""
        accounts = self._accounts(trunk.name, tenant)
        why = next((why for account in accounts if (why := account.why_too_many(number, now_ns))), "")
        if why:
            return why
        price = trunk.price_of(number)
        capped = [account for account in accounts if account.cap]
        if price is None:
            if not capped:
                return ""
            which = f"{capped[0].name} has a max_spend_per_day"
            return f"403: trunk {trunk.name} has no price for {number}, and {which}: add its prefix to prices if it may be called"
        self._turn_page(at)
        for account in capped:
            spent = self.spent.by.get(account.name, 0.0)
            if spent + price > account.cap + EPSILON:
                return (
                    f"403: {account.name} has spent {spent:.2f} of {account.cap:g} today, its max_spend_per_day, and a minute to {number} "
                    f"costs {price:g}; raise it, or wait for 00:00 UTC"
                )
        return ""

    def begin(self, call_id: str, trunk: Trunk, tenant: str, number: str, now_ns: int, at: float) -> None:
        """It is made: its first minute counts."""
        accounts = self._accounts(trunk.name, tenant)
        for account in accounts:
            account.note(number, now_ns)
        price = trunk.price_of(number)
        capped = [account for account in accounts if account.cap]
        if price is not None and capped:
            self._turn_page(at)
            self.meters[call_id] = Meter(price, capped)
            self._spend(self.meters[call_id], price)

    def _accounts(self, trunk: str, tenant: str) -> list[Account]:
        return [account for account in (self.trunks.get(trunk), self.tenants.get(tenant)) if account]

    # ---- while it lasts ----------------------------------------------------------------------------------------------

    def end(self, call: Call) -> None:
        """A call that was never answered costs nothing."""
        meter = self.meters.pop(call.call_id, None)
        if meter is not None and not call.was_answered:
            self._spend(meter, -meter.price * meter.minutes)

    def take_over(self, call: Call, trunk: Trunk | None) -> None:
        """Of the front before: what it has cost until now is counted already."""
        if trunk is None or call.direction != "outbound":
            return
        price = trunk.price_of(trunk.complete(call.callee))
        capped = [account for account in self._accounts(trunk.name, call.tenant) if account.cap]
        if price is not None and capped:
            self.meters[call.call_id] = Meter(price, capped)

    def tick(self, front: "Front", now_ns: int, at: float) -> None:
        """Once a second: minutes that have begun since."""
        if not self.meters:
            return
        self._turn_page(at)
        for call_id, meter in list(self.meters.items()):
            call = front.calls.get(call_id)
            if call is None or not call.was_answered or call.state in (State.CLOSING, State.ENDED):
                continue
            begun = 1 + (now_ns - call.answered_ns) // MINUTE_NS
            while meter.minutes < begun:
                full = next((a for a in meter.accounts if self.spent.by.get(a.name, 0.0) + meter.price > a.cap + EPSILON), None)
                if full:
                    why = f"{full.name} has spent its max_spend_per_day of {full.cap:g}, and another minute costs {meter.price:g}"
                    call.end(Cause.HANG_UP, why, now_ns)
                    front.user_agent.deadlines.schedule(call)
                    break
                meter.minutes += 1
                self._spend(meter, meter.price)

    def _spend(self, meter: Meter, amount: float) -> None:
        for account in meter.accounts:
            spent = max(0.0, self.spent.by.get(account.name, 0.0) + amount)
            self.spent.by[account.name] = round(spent, 9)
            if spent >= WARN_AT * account.cap and account.name not in self.warned:
                self.warned.add(account.name)
                log.warning("%s has spent %.2f of %g today, its max_spend_per_day", account.name, spent, account.cap)
        self.has_changed = True

    def _turn_page(self, at: float) -> None:
        day = time.strftime("%Y-%m-%d", time.gmtime(at))
        if day != self.spent.day:
            self.spent, self.has_changed = Spent(day, {}), True
            self.warned.clear()

    # ---- what is kept -------------------------------------------------------------------------------------------------

    def restore(self, spent: Spent) -> None:
        self.spent = spent

    def take_changed(self) -> Spent | None:
        """What should be written; None: it is."""
        has_changed, self.has_changed = self.has_changed, False
        return self.spent if has_changed else None
