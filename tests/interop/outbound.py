"""What carriers, PBXs and platforms expect of a call that we make, and what they do with it. SIPp plays them.

A row: the peer, what of it is shown, how the trunk to it is configured, the flow, and the order to call.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.interop.inbound import CRYPTO, G722, KEYS, NOISE, PCMA, PCMU
from tests.interop.script import Script, sdp

ANSWER = sdp(PCMU, KEYS)
OUR_TAG = CRYPTO.replace("crypto:1", "crypto:3").replace("|2^31", "")
SECURE_ANSWER = sdp(PCMU, KEYS, protocol="RTP/SAVP", more=(OUR_TAG,))
OFFERED_KEYS = ("RTP/SAVP", "a=crypto:[0-9]+ AES_CM_128_HMAC_SHA1_80 inline:")
NUMBER = "+4930123"


class Outbound(NamedTuple):
    peer: str
    features: tuple[str, ...]
    script: Script
    trunk: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    """That the order asks for."""
    ends: str = "us"
    """Who hangs up: "us", "them", or the cause that the call record must have where it is not answered."""


def ended_by_us(script: Script) -> Script:
    return script.wait_for("BYE").respond("200 OK")


def answered(script: Script, body: str = ANSWER, *headers: str) -> Script:
    return script.answer("200 OK", body, *headers).wait_for("ACK")


TWILIO = Script("to_twilio", transport="TLS").answer_call({
    "message": ("INVITE sip:\\+4930123@",), "From": ("sip:\\+1555000@acme.pstn.twilio.example",),
    "X-Campaign": ("spring",), "body": OFFERED_KEYS,
})  # fmt: skip
ended_by_us(answered(TWILIO.answer("100 Trying").answer("183 Session Progress", SECURE_ANSWER), SECURE_ANSWER))

CHALLENGE = 'Proxy-Authenticate: Digest realm="sip.telnyx.example",nonce="n1",algorithm=MD5,qop="auth"'
TELNYX = Script("to_telnyx").answer_call().answer("407 Proxy Authentication Required", "", CHALLENGE)
TELNYX.wait_for("ACK").answer_call({"Proxy-Authorization": ('username="acme"', 'realm="sip.telnyx.example"', "qop=auth", "nc=00000001")})
ended_by_us(answered(TELNYX.answer("180 Ringing")))

VOBIZ = Script("to_vobiz").answer_call({"message": ("INVITE sip:4930123@",)})
VOBIZ.answer("403 Forbidden", "", "X-Reason: international calls are off").wait_for("ACK")

RINGCENTRAL = Script("to_ringcentral").answer_call({
    "Route": ("sip:127.0.0.1:[0-9]+.*;lr",), "From": ("sip:account@",), "P-Preferred-Identity": ("sip:\\+1555000@",),
})  # fmt: skip
ended_by_us(answered(RINGCENTRAL.answer("180 Ringing")))

BANDWIDTH = Script("to_bandwidth").answer_call({"P-Asserted-Identity": ("sip:\\+1555000@",), "Privacy": ("id",), "From": ("anonymous",)})
ended_by_us(answered(BANDWIDTH.answer("180 Ringing")))

IMS = Script("to_ims").answer_call({"Supported": ("100rel", "timer")})
IMS.answer("183 Session Progress", ANSWER, "Require: 100rel", "RSeq: 17").wait_for("PRACK", {"RAck": ("17 1 INVITE",)}).respond("200 OK")
ended_by_us(answered(IMS.answer("180 Ringing"), ""))

CISCO = Script("to_cisco").answer_call({"body": ("RTP/AVP", "a=rtpmap:101 telephone-event/8000")})
answered(CISCO.answer("180 Ringing"), sdp(G722, KEYS), "Require: timer", "Session-Expires: 1800;refresher=uac").pause(200)
CISCO.reinvite(sdp(G722, KEYS, direction="inactive", version=2)).expect(200, {"body": ("a=inactive",)}).ack().pause(100)
CISCO.reinvite().expect(200, {"body": ("a=sendrecv",)}).ack(sdp(G722, KEYS, version=3))
ended_by_us(CISCO)

BLAND = Script("to_bland", transport="TLS").answer_call({"From": ("@bot.example.com",), "body": OFFERED_KEYS})
ended_by_us(answered(BLAND, sdp(PCMU, KEYS, protocol="RTP/SAVP", more=(CRYPTO,))))  # numbers its line anew

FREESWITCH = Script("to_freeswitch").answer_call({"body": OFFERED_KEYS})
answered(FREESWITCH.answer("100 Trying"), SECURE_ANSWER, "Session-Expires: 120;refresher=uas", "Require: timer").pause(100).bye()

LIVEKIT = Script("to_livekit").answer_call({"X-Room": ("lobby",)})
answered(LIVEKIT.answer("180 Ringing")).pause(200).reinvite(ANSWER).expect(200).ack()  # its keep-alive
ended_by_us(LIVEKIT)

VAPI = Script("to_vapi").answer_call({"X-Context": ("returning customer",), "body": ("m=audio",)})
ended_by_us(answered(VAPI, sdp(PCMU, KEYS, address="127.0.0.3")))  # media from an address of its own

RETELL = Script("to_retell").answer_call({"Via": ("SIP/2.0/TCP",)})
ended_by_us(answered(RETELL.answer("180 Ringing"), sdp(G722, PCMA, KEYS)))

TEAMS = Script("to_teams", transport="TLS").answer_call({"body": OFFERED_KEYS, "From": ("@sbc.example.com",)})
TEAMS.answer("183 Session Progress").answer("180 Ringing")
answered(TEAMS, sdp(PCMU, NOISE, KEYS, protocol="RTP/SAVP", more=(OUR_TAG, "a=rtcp-mux"))).pause(100)
TEAMS.request("OPTIONS").expect(200)
ended_by_us(TEAMS)

ASTERISK = Script("to_asterisk").answer_call({"Supported": ("timer",)}).answer("100 Trying").answer("180 Ringing")
answered(ASTERISK).pause(100).request("UPDATE", sdp(PCMA, KEYS, version=2)).expect(200, {"body": ("RTP/AVP 8",)})
ASTERISK.request("REFER", "", "Refer-To: <sip:9@192.0.2.7>", "Referred-By: <sip:9@[local_ip]>").expect(603)
ASTERISK.bye()

BUSY = Script("to_somebody_busy").answer_call().answer("180 Ringing").answer("486 Busy Here", "", 'Reason: Q.850;cause=17;text="User busy"')
BUSY.wait_for("ACK")

ACCOUNT = {"username": "acme", "password": "hush", "realm": "sip.telnyx.example"}
OUTBOUND = (
    Outbound("Twilio", ("call out", "TLS", "SRTP", "early media", "X- headers"), TWILIO,
             {"srtp": "required", "send_headers": ["X-Campaign"], "from_domain": "acme.pstn.twilio.example"}, {"X-Campaign": "spring"}),
    Outbound("Telnyx", ("call out", "digest"), TELNYX, ACCOUNT),
    Outbound("Vobiz", ("call out", "refusals"), VOBIZ, {"number_format": "e164"}, ends="403"),
    Outbound("RingCentral", ("call out", "outbound proxy", "identity"), RINGCENTRAL,
             {"from_user": "account", "caller_header": "P-Preferred-Identity", "outbound_proxy": "{gateway}"}),
    Outbound("Bandwidth", ("call out", "identity"), BANDWIDTH, {"caller_header": "P-Asserted-Identity", "hides_caller": True}),
    Outbound("Verizon, AT&T", ("call out", "PRACK", "early media"), IMS),
    Outbound("Cisco UCM", ("call out", "hold", "delayed offer", "session timer"), CISCO),
    Outbound("Bland", ("call out", "TLS", "SRTP"), BLAND, {"srtp": "required", "from_domain": "bot.example.com"}),
    Outbound("FreeSWITCH", ("call out", "SRTP", "session timer"), FREESWITCH, {"srtp": "required"}, ends="them"),
    Outbound("LiveKit", ("call out", "re-INVITE", "X- headers"), LIVEKIT, {"send_headers": ["X-*"]}, {"X-Room": "lobby"}),
    Outbound("Vapi", ("call out", "X- headers"), VAPI, {"send_headers": ["X-*"]}, {"X-Context": "returning customer"}),
    Outbound("Retell", ("call out", "TCP"), RETELL, {"transport": "tcp"}),
    Outbound("Microsoft Teams", ("call out", "TLS", "SRTP", "OPTIONS"), TEAMS, {"srtp": "required", "from_domain": "sbc.example.com"}),
    Outbound("Asterisk", ("call out", "UPDATE", "REFER"), ASTERISK, ends="them"),
    Outbound("SBC of any kind", ("call out", "refusals"), BUSY, ends="busy"),
)
