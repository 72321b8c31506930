"""Calls that are told what to do by a webhook, in TwiML: `agent = "twiml+https://app.example/answer"`.

`agent.py` runs documents, `verbs.py` says what each verb does, `web.py` asks for them as Twilio does, `streams.py` has
the bots of <Connect> and <Start>.
"""

from control_plane.reach import Reach

TWIML = "twiml"
"""Before the address in a reference; alone it is the agent of a call that had another one, until it was told what to do instead."""

reach = Reach()
"""Where documents may lead that are not of the route's own application. Set when the process starts, from its configuration."""
