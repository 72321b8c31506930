"""One trace a call, as a collector decodes it from OTLP over HTTP."""

import http.server
import pathlib
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from control_plane.config import Config, check
from control_plane.errors import ConfigurationError
from control_plane.http.spans import MAX_NOTES, Spans
from control_plane.http_config import Traces
from control_plane.messages import CallFacts, Noted

FACTS = CallFacts(
    "c-1", "ended", "inbound", "+49170", "+4930", "menu", 1000.0, 12.0, sip_call_id="abc", trunk="carrier", cause="the caller hung up",
    outcome="answered", status=200, rang_at=1000.5, answered_at=1002.0, ended_at=1012.0, counters={"lost": 3},
)  # fmt: skip
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """What was sent to it, decoded."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def spans(self) -> dict[str, Span]:
        groups = [group for request in self.requests for group in request.resource_spans]
        found = [span for group in groups for scope in group.scope_spans for span in scope.spans]
        assert len({span.trace_id for span in found}) <= 1, "one trace a call"
        return {span.name: span for span in found}


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


def export(collector: Collector, facts: CallFacts, *notes: Noted) -> dict[str, Span]:
    spans = Spans(Traces(collector.url))
    for note in notes:
        spans.take_note(note)
    spans.take(msgspec.structs.replace(facts, state="up"))
    spans.take(facts)
    spans.close()
    return collector.spans()


def seconds(span: Span) -> tuple[float, float]:
    return round(span.start_time_unix_nano / 1e9, 3), round(span.end_time_unix_nano / 1e9, 3)


def test_a_call_is_a_trace_of_its_parts(collector: Collector) -> None:
    turn = Noted("c-1", time.monotonic_ns(), "turn", "", {"detected_ms": 100.0, "model_ms": 300.0, "wire_ms": 20.0, "total_ms": 420.0})
    transfer = Noted("c-1", time.monotonic_ns(), "transfer", "180 Ringing")
    found = export(collector, FACTS, turn, transfer, Noted("c-1", 1, "heard", "my PIN is 1234"), Noted("c-2", 1, "turn", ""))
    assert set(found) == {"call", "set-up", "ringing", "turn", "detected", "model", "wire"}
    assert (seconds(found["call"]), seconds(found["set-up"]), seconds(found["ringing"])) == ((1000, 1012), (1000, 1002), (1000.5, 1002))
    assert found["set-up"].parent_span_id == found["turn"].parent_span_id == found["call"].span_id and not found["call"].parent_span_id
    assert found["ringing"].parent_span_id == found["set-up"].span_id and found["wire"].parent_span_id == found["turn"].span_id
    began, ended = seconds(found["turn"])
    assert ended - began == pytest.approx(0.42, abs=0.002) and abs(ended - time.time()) < 20
    assert seconds(found["detected"])[0] == began and seconds(found["model"])[0] == pytest.approx(began + 0.1, abs=0.002)
    assert [event.name for event in found["call"].events] == ["transfer", "ended"]
    attributes = {one.key: one.value.string_value or one.value.int_value for one in found["call"].attributes}
    assert (attributes["bellframe.call_id"], attributes["sip.call_id"], attributes["bellframe.lost"]) == ("c-1", "abc", 3)
    (request,) = collector.requests
    text = str(request)
    assert "+49170" not in text and "PIN" not in text, "no numbers of people, and nothing that they said"


def test_it_belongs_to_the_trace_that_the_far_end_began(collector: Collector) -> None:
    call = export(collector, msgspec.structs.replace(FACTS, traceparent=f"00-{TRACE}-{SPAN}-01"))["call"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, SPAN)


def test_a_trace_that_is_not_sampled_is_not_sent(collector: Collector) -> None:
    assert export(collector, msgspec.structs.replace(FACTS, traceparent=f"00-{TRACE}-{SPAN}-00")) == {}


@pytest.mark.parametrize("wrong", ["", "00-xyz", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"01-{TRACE}-{SPAN}-01-more"])
def test_what_is_no_traceparent_begins_a_trace_of_ours(collector: Collector, wrong: str) -> None:
    call = export(collector, msgspec.structs.replace(FACTS, traceparent=wrong))["call"]
    assert not call.parent_span_id and call.trace_id.hex() not in (TRACE, "0" * 32)


def test_a_call_that_failed_is_an_error_and_never_answered(collector: Collector) -> None:
    failed = msgspec.structs.replace(FACTS, outcome="failed", answered_at=0.0, rang_at=0.0, status=503, cause="503: no worker")
    found = export(collector, failed)
    assert set(found) == {"call", "set-up"} and seconds(found["set-up"]) == (1000, 1012)
    assert found["call"].status.code == Status.STATUS_CODE_ERROR and found["call"].status.message == "503: no worker"


def test_a_collector_that_is_away_holds_nobody_up(collector: Collector) -> None:
    spans = Spans(Traces("http://127.0.0.1:9/v1/traces"))
    began = time.monotonic()
    for number in range(200):
        for _ in range(MAX_NOTES + 5 if number == 0 else 1):
            spans.take_note(Noted(f"c-{number}", 1, "hold", "on hold"))
        spans.take(msgspec.structs.replace(FACTS, call_id=f"c-{number}"))
    assert time.monotonic() - began < 2.0 and not spans.notes


def test_an_endpoint_is_a_url_and_asks_for_the_process(tmp_path: pathlib.Path) -> None:
    assert Config(traces=Traces("http://127.0.0.1:4318/v1/traces")).needs_http
    with pytest.raises(ConfigurationError, match="traces"):
        check(Config(traces=Traces("localhost:4318")))
