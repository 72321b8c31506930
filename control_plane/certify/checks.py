"""The checks, one row each of CHECKS: what carriers ask, how it is tried, and what cannot be seen from this side."""

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from control_plane import client
from control_plane.certify.line import Call, Line, facts_of
from control_plane.messages import HangUp

ANSWER_LIMIT_S, RING_LIMIT_S = 30.0, 15.0
TALK_S = 3.0
PACKETS_A_SECOND, LEAST_SHARE, MOST_LOST = 1000 / 20, 0.8, 0.01
"""Far ends may send 10 to 60 ms packets: a third of the rate of 20 ms still counts as audio."""
KEYS = "1590*#"
SOUND_DBOV = -60.0


class Wanted(msgspec.Struct, frozen=True):
    """What the command was told."""

    formats: tuple[str, ...]
    long_minutes: float = 0.5
    busy: str = ""
    ringing: str = ""
    load_rate: float = 2.0
    load_calls: int = 10
    session_expires_s: int = 1800


class Result(msgspec.Struct, frozen=True):
    name: str
    asked: str
    outcome: Literal["passed", "failed", "not testable"]
    found: str
    """In words: what was seen, or why it cannot be seen from here."""
    figures: dict[str, float] = {}
    series: dict[str, tuple[float, ...]] = {}
    """What is worth a picture: a name with its unit, and values in their order."""


class Verdict(NamedTuple):
    outcome: Literal["passed", "failed", "not testable"]
    found: str
    figures: dict[str, float] = {}
    series: dict[str, tuple[float, ...]] = {}


Check = Callable[[Line, Wanted], Verdict]


def options(line: Line, _wanted: Wanted) -> Verdict:
    trunk = next((trunk for trunk in line.status().trunks if trunk.name == line.trunk), None)
    if trunk is None or not trunk.gateways:
        return Verdict("not testable", "OPTIONS is sent to the gateways of a trunk: name one of [[trunks]], with ping_seconds")
    down = [f"{name}: {state}" for name, state in trunk.gateways.items() if state != "up"]
    if down:
        return Verdict("failed", "; ".join(down))
    return Verdict("passed", f"answered by {', '.join(trunk.gateways)}")


def registration(line: Line, _wanted: Wanted) -> Verdict:
    trunk = next((trunk for trunk in line.status().trunks if trunk.name == line.trunk), None)
    if trunk is None or not trunk.registration:
        return Verdict("not testable", "nothing is to be registered")
    if trunk.registration != "registered":
        return Verdict("failed", trunk.why or trunk.registration)
    return Verdict("passed", f"registered for another {trunk.registered_s} s")


def codec(name: str) -> Check:
    def check(line: Line, _wanted: Wanted) -> Verdict:
        with line.call(formats=(name,)) as call:
            if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
                status = call.facts.status if call.facts else 0
                return Verdict("not testable" if status == 488 else "failed", call.why or str(status))
            agreed = call.facts.format if call.facts else ""
            call.follow(TALK_S)
        if agreed != name:
            return Verdict("failed", f"the far end answered with {agreed}, which was not offered")
        return audio_of(call)

    return check


def audio_of(call: Call) -> Verdict:
    """Of a call that has ended: what its media counted."""
    facts = call.facts
    if facts is None or not facts.counters:
        return Verdict("failed", f"nothing is known of its audio: {call.why}")
    counted, seconds = facts.counters, max(0.1, facts.ended_at - facts.answered_at)
    received, sent, lost = (counted.get(name, 0) for name in ("packets_received", "packets_sent", "lost"))
    loudest = max(call.levels_dbov, default=-127.0)
    heard = f"loudest {loudest:.0f} dBov" if loudest > SOUND_DBOV else "silence"
    figures = {
        "packets_received": received, "packets_sent": sent, "lost": lost, "mos": counted.get("mos_mean_x100", 0) / 100,
        "round_trip_ms": counted.get("rtt_us", 0) / 1000, "loudest_dbov": loudest, "seconds": round(seconds, 1),
    }  # fmt: skip
    text = f"{received} packets came and {sent} went in {seconds:.1f} s, {lost} lost, {heard}"
    expected = seconds * PACKETS_A_SECOND * LEAST_SHARE
    if received < expected / 3:
        return Verdict("failed", f"{text}: too few came; look at firewalls and NAT", figures)
    if sent < expected:
        return Verdict("failed", f"{text}: too few went", figures)
    if lost > MOST_LOST * (received + lost):
        return Verdict("failed", f"{text}: more than {MOST_LOST:.0%} is lost on the way", figures)
    return Verdict("passed", text, figures)


def keys(line: Line, _wanted: Wanted) -> Verdict:
    with line.call() as call:
        if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
            return Verdict("failed", call.why)
        call.follow(0.5)
        call.press(KEYS)
        call.wait(lambda: len(call.keys) >= len(KEYS), 8.0)
        if call.has_ended:
            return Verdict("failed", f"the call ended: {call.why}")
    if not call.keys:
        return Verdict("not testable", f"{KEYS} was sent, and no key came back: dial a number that echoes, or ask the far end what it got")
    if call.keys != KEYS:
        return Verdict("failed", f"{KEYS} was sent, and {call.keys} came back")
    return Verdict("passed", f"{KEYS} was sent and came back")


def hold(line: Line, _wanted: Wanted) -> Verdict:
    with line.call() as call:
        if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
            return Verdict("failed", call.why)
        call.follow(1.0)
        for is_held, name in ((True, "hold"), (False, "resume")):
            ended = call.put_on_hold(is_held)
            if ended is None or not ended.was_accepted:
                return Verdict("failed", f"{name}: {ended.why if ended else call.why if call.has_ended else 'no answer to the re-INVITE'}")
            call.follow(1.0)
        call.levels_dbov.clear()
        call.follow(2.0)
        if call.has_ended or not call.levels_dbov:
            return Verdict("failed", f"no audio after it was resumed: {call.why if call.has_ended else 'nothing is heard'}")
    return Verdict("passed", "re-INVITEs were answered with 200, and audio went on")


def early_media(line: Line, wanted: Wanted) -> Verdict:
    with line.call(wanted.ringing) as call:
        call.wait(lambda: call.is_up, RING_LIMIT_S)
        early = [response for response in call.responses() if response.startswith(("180", "183"))]
        bodies = [t.text for t in call.traces if not t.is_sent and t.summary.startswith(("180", "183"))]
    if not early:
        return Verdict("not testable", "the far end answered without ringing: give --ringing NUMBER of one that rings")
    if not any("m=audio" in body for body in bodies):
        return Verdict("not testable", f"it rang with {early[0]} and sent no SDP before the answer: ringing is ours to make")
    return Verdict("passed", f"{', '.join(dict.fromkeys(early))} with SDP; the way for its audio was opened")


def cancel(line: Line, wanted: Wanted) -> Verdict:
    with line.call(wanted.ringing) as call:
        call.wait(lambda: any(response[:1] == "1" for response in call.responses()) or call.is_up, RING_LIMIT_S)
        if call.is_up:
            return Verdict("not testable", "it was answered before it could be cancelled: give --ringing NUMBER of one that rings")
        if call.has_ended or not call.responses():
            return Verdict("failed", call.why)
        call.end()
    if any(response.startswith("487") for response in call.responses()):
        return Verdict("passed", "CANCEL was answered, and the INVITE with 487")
    return Verdict("failed", f"no 487 came; {call.why}")


def busy(line: Line, wanted: Wanted) -> Verdict:
    if not wanted.busy:
        return Verdict("not testable", "give --busy NUMBER of one that is busy")
    with line.call(wanted.busy) as call:
        call.wait(lambda: call.is_up or call.has_ended, ANSWER_LIMIT_S)
        status = call.facts.status if call.facts else 0
    if status in (486, 600):
        return Verdict("passed", f"{status} came, and the call ended as busy")
    return Verdict("failed", f"486 or 600 was expected, and {status or 'nothing'} came: {call.why}")


def long_call(line: Line, wanted: Wanted) -> Verdict:
    with line.call() as call:
        if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
            return Verdict("failed", call.why)
        call.follow(wanted.long_minutes * 60)
        if call.has_ended:
            return Verdict("failed", f"it ended by itself: {call.why}")
    found = audio_of(call)
    loudness = {"loudness heard, dBov, every half second": tuple(call.levels_dbov)} if call.levels_dbov else {}
    return found._replace(found=f"up for {wanted.long_minutes:g} minutes: {found.found}", series=loudness)


def session_timer(line: Line, wanted: Wanted) -> Verdict:
    refresh_s = wanted.session_expires_s / 2
    if wanted.long_minutes * 60 < refresh_s + 5:
        return Verdict("not testable", f"the first refresh comes after {refresh_s:.0f} s: give --long {refresh_s / 60 + 1:.0f}")
    with line.call() as call:
        if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
            return Verdict("failed", call.why)
        seen = len(call.traces)
        call.follow(refresh_s + 5)
        refreshes = [t.summary for t in call.traces[seen:] if t.summary in ("UPDATE", "INVITE")]
        answered = [t.summary for t in call.traces[seen:] if t.summary.startswith("200") and t.summary.endswith(("(UPDATE)", "(INVITE)"))]
        if call.has_ended:
            return Verdict("failed", f"it ended by itself: {call.why}")
    if not refreshes:
        return Verdict("not testable", "the far end agreed to no session timer")
    if not answered:
        return Verdict("failed", f"{refreshes[0]} was not answered with 200")
    return Verdict("passed", f"refreshed by {refreshes[0]} after {refresh_s:.0f} s, and answered with 200")


def load(line: Line, wanted: Wanted) -> Verdict:
    ids = [f"certify-load-{time.monotonic_ns()}-{n}" for n in range(wanted.load_calls)]
    with client.connection(line.directory) as channel:
        began = time.monotonic()
        for n, call_id in enumerate(ids):
            time.sleep(max(0.0, began + n / wanted.load_rate - time.monotonic()))
            line.begin(channel, call_id)
        time.sleep(TALK_S)
        for _ in channel.receive():
            pass  # each order's answer
        facts = [facts_of(channel, call_id) for call_id in ids]
    for call_id in ids:
        with contextlib.suppress(client.CommandFailed):
            client.ask(line.directory, HangUp(call_id, "certify's load is over"))
    setups_s = sorted(call.answered_at - call.started_at for call in facts if call and call.answered_at)
    failed = [call.cause if call else "refused at once" for call in facts if not call or not call.answered_at]
    figures = {"calls": len(ids), "rate": wanted.load_rate, "failed": len(failed)}
    if setups_s:
        figures |= {"setup_median_s": round(statistics.median(setups_s), 3), "setup_worst_s": round(setups_s[-1], 3)}
    series = {"time to the answer of each call, ms, sorted": tuple(round(1000 * setup_s, 1) for setup_s in setups_s)} if setups_s else {}
    text = f"{len(ids)} calls at {wanted.load_rate:g} a second, {len(failed)} failed"
    if failed:
        return Verdict("failed", f"{text}: {failed[0]}", figures, series)
    return Verdict("passed", f"{text}, set up in {setups_s[-1]:.2f} s at most", figures, series)


def failover(line: Line, _wanted: Wanted) -> Verdict:
    trunk = next((trunk for trunk in line.status().trunks if trunk.name == line.trunk), None)
    if trunk is None or len(trunk.gateways) < 2:
        return Verdict("not testable", "the trunk has one gateway only")
    down = [name for name, state in trunk.gateways.items() if state != "up"]
    if not down:
        return Verdict("not testable", "all gateways answer: stop one of them, wait until `bellframe status` shows it, and run this again")
    with line.call() as call:
        if not call.wait(lambda: call.is_up, ANSWER_LIMIT_S):
            return Verdict("failed", f"{', '.join(down)} is down, and no other took the call: {call.why}")
    return Verdict("passed", f"{', '.join(down)} is down, and the call was set up through another gateway")


class Row(NamedTuple):
    name: str
    asked: str
    check: Check
    needs_call: bool = True


CODEC = "codec "


def rows(wanted: Wanted) -> list[Row]:
    """Every check, in the order of trying."""
    codecs = [Row(f"{CODEC}{name}", "a call with this codec alone, audio both ways", codec(name), False) for name in wanted.formats]
    return [
        Row("OPTIONS", "every gateway answers OPTIONS", options, False),
        Row("registration", "the trunk is registered", registration, False),
        *codecs,
        Row("DTMF", "keys arrive in both directions", keys),
        Row("hold and resume", "re-INVITE to sendonly and back", hold),
        Row("early media", "audio before the answer", early_media),
        Row("CANCEL", "a ringing call is cancelled: 487", cancel),
        Row("busy", "a busy number: 486", busy),
        Row("long call", "it stays up, with audio both ways", long_call),
        Row("session timer", "RFC 4028: refreshed halfway", session_timer),
        Row("load", "calls at a rate, none refused", load),
        Row("failover", "another gateway takes the call", failover),
    ]


def run(line: Line, wanted: Wanted, tell: Callable[[Result], None]) -> list[Result]:
    results = list[Result]()
    for row in rows(wanted):
        tried = [result for result in results if result.name.startswith(CODEC)]
        try:
            if row.needs_call and tried and not any(result.outcome == "passed" for result in tried):
                verdict = Verdict("not testable", "no call could be set up with any codec")
            else:
                verdict = row.check(line, wanted)
        except client.CommandFailed as failure:
            verdict = Verdict("failed", str(failure))
        results.append(Result(row.name, row.asked, verdict.outcome, verdict.found, verdict.figures, verdict.series))
        tell(results[-1])
    return results
