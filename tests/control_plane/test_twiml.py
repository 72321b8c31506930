import pytest

from control_plane.twiml import Unreadable, parse


def test_verbs_come_in_order_with_what_they_hold():
    spoken = '<Say voice="x">Hello\n  <break time="1s"/> you</Say>'
    say, dial = parse(f'<?xml version="1.0" encoding="UTF-8"?><Response>\n {spoken}<Dial><Number>+49</Number></Dial></Response>')
    assert (say.tag, say.attributes, say.text) == ("Say", {"voice": "x"}, "Hello you")
    assert [(child.tag, child.text) for child in dial.children] == [("Number", "+49")] and parse(b"<Response/>") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Hangup", "not XML"),
        ("<Response><Say></Response>", "mismatched tag"),
        ("<Answer/>", "begins with <Answer>"),
        ("<Response>hello</Response>", "text between its verbs"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Response>&b;</Response>', "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><Response/>', "DOCTYPE"),
        ("<Response>" + "<Say/>" * 500 + "</Response>", "more than 500 elements"),
        ("<Response>" + "<a>" * 7 + "</a>" * 7 + "</Response>", "nested more than 6 deep"),
        ("<Response>" + " " * 70_000 + "</Response>", "65536 are the most"),
        ("<Response><Say>&undeclared;</Say></Response>", "undefined entity"),
    ],
)
def test_what_is_no_twiml_is_told(text, why):
    with pytest.raises(Unreadable, match=why):
        parse(text)
