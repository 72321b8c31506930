"""What the front counts for the metrics."""


from control_plane.messages import BOUNDS, Counted, Distribution, Figures, GetFigures, MediaClosed, Noted, decode, encode
from sip_front.figures import FrontFigures
from tests.sip_front.simulation import Machine, Phone


def figures(machine: Machine) -> Figures:
    machine.tell(b"operator", GetFigures())
    found = decode(encode(machine.told(Figures, b"operator")[-1]))
    assert isinstance(found, Figures)
    return found


def distribution(found: Figures, name: str) -> Distribution:
    (row,) = [row for row in found.distributions if row.name == name]
    return row


def test_calls_are_counted_by_state_and_by_how_they_ended(machine: Machine, phone: Phone) -> None:
    phone.call()
    assert figures(machine).live == (Counted("inbound", "", "up", 1),)
    machine.network.run(7)
    (call_id,) = machine.front.calls
    machine.silent.add(b"worker-0")
    phone.request("BYE")
    machine.tell(b"worker-0", MediaClosed(call_id, {"packets_received": 98, "lost": 2, "jitter_us": 3_000, "mos_mean_x100": 405}))
    found = figures(machine)
    assert (found.live, found.setups) == ((), (Counted("inbound", "", "200", 1),))
    assert found.outcomes == (Counted("inbound", "", "answered", 1),)
    talked = distribution(found, "duration_seconds")
    assert 7 <= talked.sum < 8 and talked.counts[BOUNDS["duration_seconds"].index(10)] == sum(talked.counts) == 1
    assert distribution(found, "loss_ratio").counts[BOUNDS["loss_ratio"].index(0.02)] == 1, "a bound holds what equals it"
    assert distribution(found, "jitter_seconds").sum == 0.003 and distribution(found, "mos").sum == 4.05


def test_the_parts_of_a_turn_are_counted_and_nonsense_is_not(machine: Machine, phone: Phone) -> None:
    phone.call()
    (call_id,) = machine.front.calls
    machine.tell(b"bridge-0", Noted(call_id, 1, "turn", "", {"detected_ms": 510.0, "model_ms": 300.0, "wire_ms": 20.0, "total_ms": 830.0}))
    machine.tell(b"bridge-0", Noted(call_id, 1, "turn", "", {"total_ms": float("nan"), "model_ms": -1.0, "other_ms": 5.0}))
    machine.tell(b"bridge-0", Noted("gone", 1, "turn", "", {"total_ms": 830.0}))
    means = {"detected_ms": 510.0, "model_ms": 300.0, "wire_ms": 20.0, "total_ms": 830.0}
    assert machine.front.calls[call_id].facts(0).turn_latency == {"answered": 1, **means, "longest_ms": 830.0}
    found = figures(machine)
    sums = {row.name: (sum(row.counts), row.sum) for row in found.distributions if row.name.startswith("turn_")}
    assert sums == {
        "turn_seconds": (1, 0.83), "turn_detected_seconds": (1, 0.51), "turn_model_seconds": (1, 0.3), "turn_wire_seconds": (1, 0.02)
    }  # fmt: skip


def test_who_is_turned_away_is_counted_by_status(machine: Machine, phone: Phone) -> None:
    phone.invite(call_id="no", to="nobody", tag="", cseq=1)
    phone.invite(call_id="what", tag="", cseq=1, headers="Require: magic\r\n")
    stranger = Phone(machine.network, "198.51.100.7")
    stranger.invite(call_id="who", tag="", cseq=1)
    assert set(figures(machine).setups) == {Counted("inbound", "", status, 1) for status in ("404", "420", "403")}


def test_what_is_above_the_last_bound_is_counted_too() -> None:
    assert all(list(bounds) == sorted(bounds) for bounds in BOUNDS.values())
    counted = FrontFigures()
    assert counted.show([], {}) == Figures((), (), (), ())
