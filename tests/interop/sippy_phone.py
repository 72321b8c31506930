"""Run where sippy is, with nothing of ours: a telephone of its UA class, which an order a line works and whose events come as JSON lines.

    register | call USER | answer | hold | resume | bye

It rings when it is called, and does what it is asked for in a call, as hold.
"""

import json
import sys
import threading

from sippy.CCEvents import CCEventConnect, CCEventRing, CCEventTry, CCEventUpdate
from sippy.Core.EventDispatcher import ED2
from sippy.MsgBody import MsgBody
from sippy.SipConf import SipConf
from sippy.SipLogger import SipLogger
from sippy.SipRegistrationAgent import SipRegistrationAgent
from sippy.SipTransactionManager import SipTransactionManager
from sippy.SipURL import SipURL
from sippy.UA import UA

USER, PASSWORD = "emma", "secret"
SDP = (
    "v=0\r\no=- 1 {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
)


def tell(kind, **more):
    print(json.dumps({"kind": kind, **more}), flush=True)


class Telephone:
    def __init__(self, host, port, far_port):
        self.host, self.port, self.far = host, port, (host, far_port)
        self.ua, self.version = None, 0
        self.settings = {"_sip_address": host, "_sip_port": port, "_sip_logger": SipLogger("sippy")}
        SipConf.my_address, SipConf.my_port = host, port
        self.settings["_sip_tm"] = SipTransactionManager(self.settings, self.receive)

    def sdp(self, direction="sendrecv"):
        self.version += 1
        return MsgBody(SDP.format(version=self.version, host=self.host, port=self.port + 2, direction=direction))

    def receive(self, request, transaction):
        """Outside of a call."""
        if request.getMethod() != "INVITE" or request.getHFBody("to").getTag() is not None:
            return request.genResponse(501 if request.getHFBody("to").getTag() is None else 481, "No"), None, None
        self.ua = UA(self.settings, self.happen)
        return self.ua.recvRequest(request, transaction)

    def happen(self, event, ua):
        body = event.getData()[3] if isinstance(event, CCEventTry) else None
        if isinstance(event, CCEventConnect | CCEventRing):
            body = event.getData() and event.getData()[2]
        elif isinstance(event, CCEventUpdate):
            body = event.getData()
        tell(event.name, body=str(body or ""))
        if isinstance(event, CCEventTry):
            ua.recvEvent(CCEventRing((180, "Ringing", None)))
        elif isinstance(event, CCEventUpdate):
            direction = "recvonly" if "a=sendonly" in str(body) else "inactive" if "a=inactive" in str(body) else "sendrecv"
            ua.recvEvent(CCEventConnect((200, "OK", self.sdp(direction))))

    def obey(self, order, *words):
        if order == "register":
            aor = SipURL(username=USER, host=self.host, port=self.far[1])
            contact = SipURL(username=USER, host=self.host, port=self.port)
            agent = SipRegistrationAgent(
                self.settings, aor, contact, USER, PASSWORD, 120, lambda *_: tell("registered"), lambda *_: tell("refused"),
                target=(self.far, "udp"),
            )  # fmt: skip
            agent.doregister()
        elif order == "call":
            self.ua = UA(self.settings, self.happen, USER, PASSWORD, self.far)
            self.ua.recvEvent(CCEventTry((None, USER, words[0], self.sdp(), None, "Emma")))
        elif order == "answer":
            self.ua.recvEvent(CCEventConnect((200, "OK", self.sdp())))
        elif order in ("hold", "resume"):
            self.ua.recvEvent(CCEventUpdate(self.sdp("sendonly" if order == "hold" else "sendrecv")))
        elif order == "bye":
            self.ua.disconnect()


def main():
    telephone = Telephone(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

    def listen():
        for line in sys.stdin:
            ED2.callFromThread(telephone.obey, *line.split())
        ED2.callFromThread(ED2.breakLoop)

    threading.Thread(target=listen, daemon=True).start()
    tell("ready")
    ED2.loop()


if __name__ == "__main__":
    main()
