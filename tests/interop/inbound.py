"""What carriers and PBXs send when they call, by their documentation and traces of theirs. SIPp plays them.

A row: the peer, what of it is shown, the flow, and what the agent must have been told.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tests.interop.script import Script, sdp

PCMU, PCMA, G722, KEYS = "0 PCMU/8000", "8 PCMA/8000", "9 G722/8000", "101 telephone-event/8000"
NOISE, G729, OPUS = "13 CN/8000", "18 G729/8000", "107 opus/48000/2"
KEY = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"  # of RFC 4568 6.1
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}|2^31"
OUR_CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:.*"


class Inbound(NamedTuple):
    peer: str
    features: tuple[str, ...]
    script: Script
    told: Mapping[str, str] = {}
    """Headers that its agent sees."""
    caller: str = "+15551230001"
    keys: str = ""
    """Those that it hears."""


TWILIO = Script("twilio", transport="TLS", headers=("User-Agent: Twilio Gateway",))
TWILIO.invite(
    sdp(PCMU, PCMA, KEYS, protocol="RTP/SAVP", more=(CRYPTO, "a=maxptime:20")),
    "X-Twilio-AccountSid: AC00000000000000000000000000000000", "X-Twilio-CallSid: CA11111111111111111111111111111111",
    "X-Twilio-VerStat: TN-Validation-Passed-A", "Diversion: <sip:+4930123@twilio.example>;reason=unconditional",
    "P-Asserted-Identity: <sip:+15551230001@[local_ip]:[local_port]>", "Allow: INVITE,ACK,CANCEL,OPTIONS,BYE",
)  # fmt: skip
TWILIO.expect(200, {"body": ("RTP/SAVP 0", OUR_CRYPTO, "!MKI")}).ack().pause(200).bye()

MKI = Script("key_index", transport="TLS")  # Twilio's page: no MKI; whoever sends one must be told why
MKI.invite(sdp(PCMU, protocol="RTP/SAVP", more=(f"{CRYPTO}|1:4",))).expect(488, {"Warning": ("MKI",)}).ack_refusal()

TELNYX = Script("telnyx", headers=("User-Agent: Telnyx SIP Proxy", "X-Telnyx-Token: 4711"))
TELNYX.invite(sdp(G722, PCMU, PCMA, KEYS, protocol="RTP/SAVP", more=(CRYPTO,)))  # SRTP with signalling in the clear
TELNYX.expect(200, {"body": ("RTP/SAVP", OUR_CRYPTO)}).ack().pause(100)
TELNYX.reinvite(sdp(G722, PCMU, PCMA, KEYS, protocol="RTP/SAVP", direction="sendonly", version=2, more=(CRYPTO,)))
TELNYX.expect(200, {"body": ("a=recvonly", OUR_CRYPTO)}).ack().pause(100).bye()

VOBIZ = Script("vobiz", user="+919876543210").invite(sdp(PCMA, PCMU, G722, KEYS), "X-Vobiz-Call-Id: v-1", "P-Charging-Vector: icid-value=1")
VOBIZ.expect(180).expect(200, {"body": ("a=rtpmap:101 telephone-event/8000",)}).ack().pause(100)
VOBIZ.request("OPTIONS").expect(200).bye()

VONAGE = Script("vonage", headers=("User-Agent: Vonage",))
VONAGE.invite(sdp(PCMU, PCMA, KEYS), "Supported: timer", "Session-Expires: 1800;refresher=uac", "Min-SE: 90")
VONAGE.expect(200, {"Session-Expires": ("1800;refresher=uac",), "Require": ("timer",)}).ack().pause(100)
VONAGE.reinvite(sdp(PCMU, PCMA, KEYS), "Supported: timer", "Session-Expires: 1800;refresher=uac")
VONAGE.expect(200, {"Session-Expires": ("1800;refresher=uac",), "body": ("IN IP4",)}).ack().bye()

BANDWIDTH = Script("bandwidth", user="anonymous").invite(sdp(PCMU, KEYS), "P-Asserted-Identity: \"Ann\" <sip:+15551230001@[local_ip]>")
BANDWIDTH.expect(200).ack().pause(100).bye()

VOIP_MS = Script("voip.ms", user="5551230001").invite(sdp(G729, PCMU, G722, KEYS)).expect(200, {"body": ("m=audio [0-9]+ RTP/AVP 0 101",)})
VOIP_MS.ack().pause(100).request("OPTIONS").expect(200, {"Allow": ("INVITE",)}).bye()

IMS = Script("ims", headers=("P-Access-Network-Info: 3GPP-E-UTRAN-FDD",))
IMS.invite(
    sdp(PCMA, KEYS), "Supported: 100rel,timer,precondition,199", "P-Asserted-Identity: <tel:+15551230001>", "P-Early-Media: supported",
    "History-Info: <sip:+4930123@ims.example>;index=1", "Session-Expires: 1800", "Request-Disposition: no-fork",
    "Contact: <sip:peer@[local_ip]:[local_port]>;+sip.instance=\"<urn:uuid:0>\";+g.3gpp.icsi-ref=\"urn%3Aurn-7\"",
)  # fmt: skip
IMS.expect(200).ack().pause(100).request("UPDATE", "", "Supported: timer", "Session-Expires: 1800;refresher=uac")
IMS.expect(200, {"Session-Expires": ("1800",)}).bye()

CISCO = Script("cisco_ucm", headers=("User-Agent: Cisco-CUCM12.5", "Remote-Party-ID: <sip:+15551230001@[local_ip]>;party=calling"))
CISCO.invite("", "Supported: timer,resource-priority,replaces", "Session-Expires: 1800", "Cisco-Guid: 1-2-3-4")  # delayed offer
CISCO.expect(200, {"body": ("m=audio [0-9]+ RTP/AVP", "telephone-event/8000")}).ack(sdp(G722, KEYS)).pause(200)
CISCO.reinvite(sdp(G722, KEYS, direction="inactive", version=2)).expect(200, {"body": ("a=inactive",)}).ack().pause(100)
CISCO.reinvite(sdp(PCMU, KEYS, direction="sendonly", version=3, address="127.0.0.2"))  # music on hold, from elsewhere
CISCO.expect(200, {"body": ("a=recvonly",)}).ack().pause(100)
CISCO.reinvite("").expect(200, {"body": ("a=sendrecv",)}).ack(sdp(G722, KEYS, version=4)).pause(100)
CISCO.request("UPDATE", "", "Session-Expires: 1800;refresher=uac", "Supported: timer").expect(200).bye()

TEAMS = Script("teams", transport="TLS", headers=("User-Agent: Microsoft.PSTNHub.SIPProxy v.2026",))
TEAMS.invite(
    sdp(
        PCMU, PCMA, NOISE, KEYS, protocol="RTP/SAVP",
        more=(CRYPTO, "a=rtcp-mux", "a=label:main-audio", "a=ice-ufrag:abcd", "a=candidate:1 1 UDP 1 127.0.0.1 9 typ host"),
    ), "Supported: histinfo,timer,replaces", "Session-Expires: 3600;refresher=uac", "Min-SE: 300",
    "History-Info: <sip:+4930123@sip.pstnhub.example>;index=1", "X-MS-Trace: 1",
)  # fmt: skip
TEAMS.expect(200, {"body": ("RTP/SAVP", OUR_CRYPTO, "a=rtcp-mux", "!a=candidate")}).ack().pause(100).request("OPTIONS").expect(200).bye()

BLAND = Script("bland", transport="TLS").invite(sdp(PCMU, PCMA, KEYS, protocol="RTP/SAVP", more=(CRYPTO,)))
BLAND.expect(200, {"body": ("RTP/SAVP", OUR_CRYPTO)}).ack().pause(100).bye()

FREESWITCH_OFFER = sdp(OPUS, G722, PCMU, KEYS, NOISE, protocol="RTP/SAVP", more=(CRYPTO, "a=rtcp-mux"))
FREESWITCH_OFFER += "\nm=audio [media_port] RTP/AVP 9 0 101 13\na=rtpmap:9 G722/8000\na=rtpmap:101 telephone-event/8000\na=ptime:20"
FREESWITCH = Script("freeswitch", headers=("User-Agent: FreeSWITCH",))
FREESWITCH.invite(FREESWITCH_OFFER, "Supported: timer,path,replaces", "Session-Expires: 120;refresher=uac", "X-FS-Support: update_display")
FREESWITCH.expect(200, {"body": ("RTP/SAVP", "m=audio 0 RTP/AVP", OUR_CRYPTO)}).ack().pause(100)
FREESWITCH.request("UPDATE", "", "Session-Expires: 120;refresher=uac", "Supported: timer").expect(200).bye()

AVAYA = Script("avaya", headers=("User-Agent: Avaya CM", "User-to-User: 00FA08;encoding=hex", "P-Location: SM;origlocname=\"Main\""))
AVAYA.invite(sdp(G722, PCMU, KEYS, more=(CRYPTO,)), "Supported: 100rel,timer,replaces,join,histinfo", "Session-Expires: 1200;refresher=uac")
AVAYA.expect(200, {"body": ("RTP/AVP", OUR_CRYPTO)}).ack().pause(100).bye()  # best-effort SRTP: keys on RTP/AVP

ASTERISK = Script("asterisk", headers=("User-Agent: Asterisk PBX 20",))
ASTERISK.invite(
    sdp(G722, PCMU, PCMA, KEYS, more=("a=maxptime:150",)), "Supported: 100rel,timer,replaces", "Session-Expires: 1800", "Min-SE: 90",
).expect(200, {"body": ("telephone-event",)}).ack().pause(100)  # fmt: skip
ASTERISK.reinvite(sdp(PCMU, PCMA, KEYS, version=2, address="127.0.0.2"))  # direct media
ASTERISK.expect(200, {"body": ("RTP/AVP 0 101",)}).ack().pause(100)
ASTERISK.request("UPDATE", sdp(PCMU, PCMA, KEYS, version=3)).expect(200, {"body": ("a=sendrecv",)}).bye()

OPAL = Script("opal", has_rport=False, headers=("User-Agent: Opal/3.10",)).invite(sdp(PCMU)).expect(200, {"body": ("RTP/AVP 0",)}).ack()
OPAL.pause(100).request("INFO", "Signal=5\nDuration=160", content_type="application/dtmf-relay").expect(200).pause(300).bye()

INBOUND = (
    Inbound("Twilio", ("call in", "TLS", "SRTP", "X- headers"), TWILIO, {"X-Twilio-CallSid": f"CA{32 * '1'}"}),
    Inbound("Telnyx", ("call in", "SRTP", "hold", "X- headers"), TELNYX, {"X-Telnyx-Token": "4711"}),
    Inbound("Vobiz", ("call in", "OPTIONS", "X- headers"), VOBIZ, {"X-Vobiz-Call-Id": "v-1"}, "+919876543210"),
    Inbound("Vonage", ("call in", "session timer", "re-INVITE"), VONAGE),
    Inbound("Bandwidth", ("call in", "identity"), BANDWIDTH),
    Inbound("VoIP.ms", ("call in", "OPTIONS"), VOIP_MS, caller="5551230001"),
    Inbound("Verizon, AT&T", ("call in", "session timer", "UPDATE", "identity"), IMS),
    Inbound("Cisco UCM", ("call in", "delayed offer", "hold", "re-INVITE", "UPDATE", "session timer"), CISCO),
    Inbound("Microsoft Teams", ("call in", "TLS", "SRTP", "OPTIONS", "session timer", "comfort noise"), TEAMS, {"X-MS-Trace": "1"}),
    Inbound("Bland", ("call in", "TLS", "SRTP"), BLAND),
    Inbound("FreeSWITCH", ("call in", "SRTP", "UPDATE", "session timer"), FREESWITCH, {"X-FS-Support": "update_display"}),
    Inbound("Avaya", ("call in", "SRTP", "session timer"), AVAYA),
    Inbound("Asterisk", ("call in", "re-INVITE", "UPDATE", "session timer"), ASTERISK),
    Inbound("Opal", ("call in", "INFO keys"), OPAL, keys="5"),
)
