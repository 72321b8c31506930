"""Twilio's route: what a bot's REST client sends, and what it must get."""

import asyncio
import base64
import pathlib
from typing import Any

import pytest

from control_plane.call_sid import call_sid
from control_plane.http.twilio import Unwanted, order_of
from control_plane.http_config import Http
from control_plane.messages import HangUp, InstructCall, Message
from control_plane.secret import Secret
from tests.control_plane.http.front import Front, running

TOKEN = "a-token-of-our-own-1"
SID = call_sid("c-1")
GOODBYE = "<Response><Say>goodbye</Say><Hangup/></Response>"


def post(directory: pathlib.Path, form: dict[str, str] | None, sid: str = SID, login: str = "", **http: Any) -> tuple[int, Any]:
    async def run() -> tuple[int, Any]:
        async with running(directory, Http(**http)) as (client, _):
            url = f"/2010-04-01/Accounts/AC1/Calls/{sid}.json"
            headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
            response = await (client.get(url, headers=headers) if form is None else client.post(url, data=form, headers=headers))
            return response.status, await response.json()

    return asyncio.run(run())


def test_a_bot_hangs_up(tmp_path: pathlib.Path, front: Front) -> None:
    status, call = post(tmp_path, {"Status": "completed"}, login=f"AC1:{TOKEN}", tokens=(Secret(TOKEN),))
    assert status == 200 and front.others == [HangUp("c-1", "hung up through Twilio's API")]
    assert (call["sid"], call["account_sid"], call["status"]) == (SID, "AC1", "completed")
    assert (call["from"], call["direction"]) == ("+491", "inbound")


def test_a_bot_looks(tmp_path: pathlib.Path, front: Front) -> None:
    status, call = post(tmp_path, None)
    assert (status, call["status"], call["to"], front.others) == (200, "in-progress", "100", [])


def test_a_call_that_is_over_has_the_number_that_bots_know(tmp_path: pathlib.Path, front: Front) -> None:
    status, wrong = post(tmp_path, {"Status": "completed"}, sid=call_sid("gone"))
    assert (status, wrong["code"], wrong["status"]) == (404, 20404, 404)


@pytest.mark.parametrize("login", ["", "AC1:a-token-of-our-own-2", f"{TOKEN}:", TOKEN])
def test_without_the_token_nothing_is_done(tmp_path: pathlib.Path, front: Front, login: str) -> None:
    status, _ = post(tmp_path, {"Status": "completed"}, login=login, tokens=(Secret(TOKEN),))
    assert status == 401 and not front.others


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ({"Status": "canceled"}, HangUp("c", "hung up through Twilio's API")),
        ({"Twiml": "<Response><Hangup/></Response>"}, HangUp("c", "hung up through Twilio's API")),
        ({"Twiml": "<Response><Dial>+49301</Dial></Response>"}, InstructCall("c", document="<Response><Dial>+49301</Dial></Response>")),
        ({"Twiml": GOODBYE}, InstructCall("c", document=GOODBYE)),
        ({"Url": "https://bot.example/twiml"}, InstructCall("c", url="https://bot.example/twiml")),
        ({"Url": "https://bot.example/twiml", "Method": "get"}, InstructCall("c", url="https://bot.example/twiml", method="GET")),
    ],
)
def test_what_may_be_asked_for(form: dict[str, str], order: Message) -> None:
    assert order_of("c", form) == order


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"Url": "file:///etc/passwd"},
        {"Url": "https://bot.example/twiml", "Method": "PUT"},
        {"Status": "in-progress"},
        {"Twiml": "Hangup"},
        {"Twiml": "<Response/>"},
        {"Twiml": '<!DOCTYPE a [<!ENTITY b "c">]><Response><Hangup/></Response>'},
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: pathlib.Path, front: Front, form: dict[str, str]) -> None:
    with pytest.raises(Unwanted, match=r"Hangup|XML|Status|Url|DOCTYPE"):
        order_of("c", form)
    status, wrong = post(tmp_path, form)
    assert status == 400 and wrong["code"] in (20001, 12100) and not front.others
