from sip_front.challenged import MAX_CHALLENGED, PATIENCE_NS, Challenged


def test_who_gives_no_password_is_told_once_and_who_gives_one_is_not() -> None:
    challenged = Challenged()
    for host in ("192.0.2.1", "192.0.2.2"):
        challenged.ask(host, "100", 0)
    challenged.ask("192.0.2.1", "200", PATIENCE_NS - 1)  # its INVITE again
    challenged.hear("192.0.2.2")
    assert challenged.take_silent(PATIENCE_NS - 1) == []
    assert challenged.take_silent(PATIENCE_NS) == [("192.0.2.1", "100")] and challenged.take_silent(10 * PATIENCE_NS) == []


def test_a_scan_fills_no_memory() -> None:
    challenged = Challenged()
    for n in range(10 * MAX_CHALLENGED):
        challenged.ask(str(n), "100", n)
    assert len(challenged.asked) == MAX_CHALLENGED == len(challenged.take_silent(2 * PATIENCE_NS)) and not challenged.asked
