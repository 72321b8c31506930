"""Calls that are told what to do by a webhook, in TwiML: `agent = "twiml+https://app.example/answer"`.

`agent.py` runs documents, `verbs.py` says what each verb does, `web.py` asks for them as Twilio does, `streams.py` has
the bots of <Connect> and <Start>.
"""

TWIML = "twiml"
"""Before the address in a reference; alone it is the agent of a call that had another one, until it was told what to do instead."""
