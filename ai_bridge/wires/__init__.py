"""The wires: how bots that were written for another provider are spoken to. One row and one file each.

A route names a bot by its wire and its address, `agent = "twilio+wss://bot.example/media"`: the part before the plus is
a name of this table. Rows name their classes as text, so that nothing is loaded before a call wants it.
"""

WIRES = {
    # name     class
    "bellframe": "ai_bridge.wires.bellframe:Bellframe",
    "twilio": "ai_bridge.wires.twilio:Twilio",
    "telnyx": "ai_bridge.wires.telnyx:Telnyx",
    "plivo": "ai_bridge.wires.plivo:Plivo",
    "vobiz": "ai_bridge.wires.vobiz:Vobiz",
    "exotel": "ai_bridge.wires.exotel:Exotel",
    "vonage": "ai_bridge.wires.vonage:Vonage",
    "audiohook": "ai_bridge.wires.audiohook:AudioHook",
    "jambonz": "ai_bridge.wires.jambonz:Jambonz",
    "asterisk": "ai_bridge.wires.asterisk:Asterisk",
    "audiosocket": "ai_bridge.wires.audiosocket:AudioSocket",
}
OVER_TCP = ("audiosocket",)
"""Their addresses have +tcp://HOST:PORT in place of +ws:// or +wss://."""
