"""Headers as agents read them."""

from ai_bridge.headers import Headers


def test_a_name_is_found_in_any_case_and_others_are_not() -> None:
    headers = Headers({"X-Twilio-Callsid": "CA1", "P-Asserted-Identity": "<tel:+1>"})
    assert headers["X-Twilio-CallSid"] == headers["x-twilio-callsid"] == headers.get("X-TWILIO-CALLSID") == "CA1"
    assert "p-asserted-identity" in headers and "X-Other" not in headers and 7 not in headers
    assert headers.get("X-Other") is None and headers.get("X-Other", "none") == "none"
    assert dict(headers) == {"X-Twilio-Callsid": "CA1", "P-Asserted-Identity": "<tel:+1>"}
