"""An application that answers calls with TwiML, as one for Twilio does: a menu, a message for the owner, a number to be sent to.

    python menu.py 8000
    bellframe up --agent twiml+http://127.0.0.1:8000/answer
"""

import sys
from xml.sax.saxutils import escape

from aiohttp import web

MENU = """
<Gather numDigits="1" action="/chosen" timeout="5">
  <Say language="en-US">Press 1 for the opening hours, 2 to leave a message, or 9 to end the call.</Say>
</Gather>
<Say language="en-US">Goodbye.</Say>
"""
CHOSEN = {
    "1": '<Say language="en-US">We are open from nine to five.</Say><Redirect>/answer</Redirect>',
    "2": '<Say language="en-US">Speak after the tone, and press a key when you are done.</Say><Record maxLength="60" action="/recorded"/>',
    "9": "<Hangup/>",
}


async def answer(request: web.Request) -> web.Response:
    return twiml(MENU)


async def chosen(request: web.Request) -> web.Response:
    form = await request.post()
    return twiml(CHOSEN.get(str(form["Digits"]), "<Redirect>/answer</Redirect>"))


async def recorded(request: web.Request) -> web.Response:
    form = await request.post()
    print(f"a message of {form['RecordingDuration']} s from {form['From']}: {form['RecordingUrl']}", flush=True)
    return twiml(f'<Say language="en-US">{escape(str(form["RecordingDuration"]))} seconds. Thank you.</Say><Hangup/>')


def twiml(verbs: str) -> web.Response:
    return web.Response(text=f"<Response>{verbs}</Response>", content_type="text/xml")


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/answer", answer)
    app.router.add_post("/chosen", chosen)
    app.router.add_post("/recorded", recorded)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
