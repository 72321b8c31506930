from sip_front.deadlines import MIN_STALE, Deadlines, Place


class Alarm:
    def __init__(self, deadline_ns: int | None) -> None:
        self.deadline_ns, self.place = deadline_ns, None
        self.fired: list[int] = []

    place: Place | None

    def expire(self, now_ns: int) -> None:
        self.fired.append(now_ns)
        self.deadline_ns = None


def fire(deadlines: Deadlines, now_ns: int) -> int:
    due = list(deadlines.take_due(now_ns))
    for alarm in due:
        alarm.expire(now_ns)
    return len(due)


def test_they_come_up_in_order_and_once() -> None:
    deadlines, alarms = Deadlines(), [Alarm(30), Alarm(10), Alarm(20), Alarm(None)]
    for alarm in alarms:
        deadlines.schedule(alarm)
    assert deadlines.next_ns == 10
    assert [fire(deadlines, t) for t in (9, 10, 25, 40)] == [0, 1, 1, 1]
    assert [a.fired for a in alarms] == [[40], [10], [25], []] and deadlines.next_ns is None


def test_one_that_moved_comes_up_when_it_is_due_now() -> None:
    deadlines, later, earlier, gone = Deadlines(), Alarm(10), Alarm(50), Alarm(10)
    for alarm in (later, earlier, gone):
        deadlines.schedule(alarm)
    later.deadline_ns, earlier.deadline_ns, gone.deadline_ns = 100, 20, None
    for alarm in (later, earlier, gone):
        deadlines.schedule(alarm)
    assert [fire(deadlines, t) for t in (15, 20, 60, 99, 100)] == [0, 1, 0, 0, 1]
    assert not deadlines.heap


def test_moving_later_many_times_costs_one_place() -> None:
    deadlines, alarm = Deadlines(), Alarm(1)
    for deadline_ns in range(1, 1000):
        alarm.deadline_ns = deadline_ns
        deadlines.schedule(alarm)
    assert len(deadlines.heap) == 1


def test_whoever_has_no_deadline_any_more_is_let_go_of_at_once() -> None:
    deadlines, alarm = Deadlines(), Alarm(900)
    deadlines.schedule(alarm)
    alarm.deadline_ns = None
    deadlines.schedule(alarm)
    assert not deadlines.waiting and fire(deadlines, 1000) == 0


def test_what_is_stale_never_outgrows_what_is_awaited() -> None:
    deadlines, staying = Deadlines(), [Alarm(n) for n in range(100)]
    for alarm in staying:
        deadlines.schedule(alarm)
    for n in range(10_000):
        alarm = Alarm(10_000 + n)
        deadlines.schedule(alarm)
        alarm.deadline_ns = None
        deadlines.schedule(alarm)
    assert len(deadlines.heap) <= MIN_STALE + 2 * len(staying) + 3
    assert [fire(deadlines, t) for t in (49, 99, 30_000)] == [50, 50, 0]
