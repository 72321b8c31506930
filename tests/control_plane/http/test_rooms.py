"""Calls that hear each other, through the API: what is asked of the front."""

import asyncio
import pathlib
from typing import Any

import pytest

from control_plane.messages import ConnectCall, EnterRoom, Failed, JoinCalls, LeaveRoom, Message, Party
from tests.control_plane.http.front import Front, running

ASKED = [
    ("POST", "join", {"with_call": "c-2"}, 202, JoinCalls("c-1", "c-2")),
    ("POST", "join", {"with_call": "c-2", "agent": "listen", "after": "return"}, 202, JoinCalls("c-1", "c-2", "listen", "return")),
    ("POST", "room", {"room": "weekly"}, 202, EnterRoom("weekly", Party("c-1"))),
    (
        "POST",
        "room",
        {"room": "weekly", "role": "whisper", "to": "c-2", "agent": "talk", "after": "end"},
        202,
        EnterRoom("weekly", Party("c-1", "whisper", "talk", "c-2"), "end"),
    ),
    ("DELETE", "room", None, 204, LeaveRoom("c-1")),
]


def ask(directory: pathlib.Path, method: str, what: str, body: Any) -> tuple[int, Any, str]:
    async def run() -> tuple[int, Any, str]:
        async with running(directory) as (client, _):
            response = await client.request(method, f"/v1/calls/c-1/{what}", json=body)
            answer = await response.json() if response.status != 204 else None
            return response.status, answer, response.headers.get("Location", "")

    return asyncio.run(run())


@pytest.mark.parametrize(("method", "what", "body", "status", "order"), ASKED)
def test_what_is_asked_is_ordered(
    tmp_path: pathlib.Path, front: Front, method: str, what: str, body: Any, status: int, order: Message
) -> None:
    assert ask(tmp_path, method, what, body)[0] == status and front.others == [order]


def test_somebody_is_rung_and_the_answer_says_which_call_that_is(tmp_path: pathlib.Path, front: Front) -> None:
    wish = {"to": "sip:desk@x", "meanwhile": "ringback", "ring_seconds": 20, "agent": "whisper", "after": "return"}
    status, made, location = ask(tmp_path, "POST", "connect", wish)
    assert status == 202 and location == f"/v1/calls/{made['call_id']}" and made["callee"] == "sip:desk@x"
    assert front.others == [
        ConnectCall("c-1", "sip:desk@x", made["call_id"], meanwhile="ringback", ring_seconds=20, agent="whisper", after="return")
    ]


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("join", {}),
        ("join", {"with_call": "c-2", "agent": "sings"}),
        ("room", {"room": "r" * 41}),
        ("connect", {"to": "x", "ring_seconds": 0}),
    ],
)
def test_what_is_written_wrongly_is_refused(tmp_path: pathlib.Path, front: Front, what: str, body: Any) -> None:
    assert ask(tmp_path, "POST", what, body)[0] == 422 and front.others == []


def test_what_the_front_refuses_is_told(tmp_path: pathlib.Path, front: Front) -> None:
    front.refusal = Failed("call c-1 is on media worker 0, and call c-2 on 1", 422)
    status, problem, _ = ask(tmp_path, "POST", "join", {"with_call": "c-2"})
    assert status == 422 and "media worker 0" in problem["detail"]
