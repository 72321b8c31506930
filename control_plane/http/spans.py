"""OpenTelemetry: one trace a call, made when it has ended, of what everybody may watch. The front and the media know nothing of it.

    call ─┬─ set-up ── ringing
          ├─ turn ─┬─ detected      one for each answer of a model (docs/models.md says where the parts begin)
          │        ├─ model
          │        └─ wire
          └─ events: hold, transfer, ended

Nobody's number is in it. Spans wait in a bounded queue and a thread sends them: a collector that is away costs nothing but spans.
"""

import re
import time
from collections import OrderedDict
from typing import Any

from control_plane.errors import ConfigurationError
from control_plane.http_config import Traces
from control_plane.logs import clean
from control_plane.messages import CallFacts, Noted
from control_plane.version import version

TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
"""W3C Trace Context, level 1."""
KINDS = ("turn", "hold", "transfer")
MAX_CALLS, MAX_NOTES = 5_000, 200
"""Whose notes are kept until they end, and of each call."""
COUNTED = ("lost", "late", "jitter_us", "mos_mean_x100")
PARTS = ("detected", "model", "wire")
MISSING = "traces.endpoint: OpenTelemetry is not installed: pip install 'bellframe[otel]'"


class Spans:
    """`take` and `take_note` never wait. Raises ConfigurationError where OpenTelemetry is not installed."""

    def __init__(self, settings: Traces, exporter: Any = None) -> None:
        """`exporter`: another one than OTLP over HTTP."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as failure:
            raise ConfigurationError(MISSING) from failure
        self.provider = TracerProvider(resource=Resource.create({"service.name": settings.service, "service.version": version()}))
        self.provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=settings.endpoint)))
        self.tracer = self.provider.get_tracer("bellframe", version())
        self.notes: OrderedDict[str, list[tuple[int, Noted]]] = OrderedDict()

    def take_note(self, note: Noted) -> None:
        if note.kind not in KINDS:
            return
        notes = self.notes.setdefault(note.call_id, [])
        if len(notes) < MAX_NOTES:
            notes.append((note.at_ns + time.time_ns() - time.monotonic_ns(), note))
        if len(self.notes) > MAX_CALLS:
            self.notes.popitem(last=False)

    def take(self, facts: CallFacts) -> None:
        if facts.state == "ended":
            self._export(facts, self.notes.pop(facts.call_id, []))

    def close(self) -> None:
        """What waits is sent, if the collector answers soon."""
        self.provider.shutdown()

    def _export(self, facts: CallFacts, notes: list[tuple[int, Noted]]) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        kind = SpanKind.SERVER if facts.direction == "inbound" else SpanKind.CLIENT
        begin_ns, end_ns = _ns(facts.started_at), _ns(facts.ended_at or facts.started_at + facts.duration_s)
        call = self.tracer.start_span("call", context_of(facts.traceparent), kind, attributes_of(facts), start_time=begin_ns)
        within = set_span_in_context(call)
        answered_ns, rang_ns = _ns(facts.answered_at), _ns(facts.rang_at)
        setup = self.tracer.start_span("set-up", within, start_time=begin_ns)
        if rang_ns:
            self.tracer.start_span("ringing", set_span_in_context(setup), start_time=rang_ns).end(answered_ns or end_ns)
        setup.end(answered_ns or end_ns)
        for at_ns, note in notes:
            if note.kind == "turn":
                self._export_turn(at_ns, note, within)
            else:
                call.add_event(note.kind, {"text": clean(note.text, 200)}, at_ns)
        call.add_event("ended", {"cause": clean(facts.cause, 300)}, end_ns)
        if facts.outcome == "failed":
            call.set_status(Status(StatusCode.ERROR, clean(facts.cause, 300)))
        call.end(end_ns)

    def _export_turn(self, at_ns: int, note: Noted, within: Any) -> None:
        """`at_ns`: the answer's first sound was on the wire."""
        from opentelemetry.trace import set_span_in_context

        spent_ns = {name: round(note.values.get(f"{name}_ms", 0.0) * 1e6) for name in PARTS}
        began_ns = at_ns - sum(spent_ns.values())
        turn = self.tracer.start_span("turn", within, start_time=began_ns)
        for name, lasted_ns in spent_ns.items():
            if lasted_ns:
                self.tracer.start_span(name, set_span_in_context(turn), start_time=began_ns).end(began_ns + lasted_ns)
                began_ns += lasted_ns
        turn.end(at_ns)


def attributes_of(facts: CallFacts) -> dict[str, str | int]:
    """What an operator looks a call up by. No numbers of people: who may see those reads the call records."""
    found: dict[str, str | int] = {
        "bellframe.call_id": facts.call_id, "bellframe.direction": facts.direction, "bellframe.agent": facts.agent,
        "bellframe.trunk": facts.trunk, "bellframe.tenant": facts.tenant, "bellframe.format": facts.format,
        "bellframe.outcome": facts.outcome, "bellframe.worker": facts.worker,
        "sip.call_id": facts.sip_call_id, "sip.status": facts.status,
    }  # fmt: skip
    found |= {f"bellframe.{name}": facts.counters[name] for name in COUNTED if name in facts.counters}
    return {name: value for name, value in found.items() if value != ""}


def context_of(traceparent: str) -> Any:
    """The trace that the far end began; None: ours is a trace of its own."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    found = TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    flags = TraceFlags(int(found["flags"], 16))
    parent = SpanContext(int(found["trace"], 16), int(found["span"], 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(parent)) if parent.is_valid else None


def _ns(at: float) -> int:
    return round(at * 1e9)
