import asyncio
import os
import signal

import pytest

from ai_bridge.offline_speech.helper import Heard, Helper, Say, Speech, SpeechFailed

pytest.importorskip("espeakng_loader", reason="pip install 'bellframe[agent]'")
HELLO = Say("hello", "en-us", 160)


def test_a_helper_that_dies_fails_one_request_and_is_there_for_the_next() -> None:
    async def scene() -> None:
        helper = Helper("synthesis")
        first = await helper.ask(HELLO, Speech, 30)
        pid = helper.pid
        os.kill(pid, signal.SIGSTOP)  # so that it dies with a request in hand
        asked = asyncio.ensure_future(helper.ask(HELLO, Speech, 30))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        try:
            again = await asked  # it may have been seen dead before the request was written
        except SpeechFailed:
            again = await helper.ask(HELLO, Speech, 30)
        assert len(again.pcm) == pytest.approx(len(first.pcm), rel=0.02) and helper.pid != pid
        await helper.close()

    asyncio.run(scene())


def test_what_the_helper_refuses_says_why_and_costs_nothing_else() -> None:
    async def scene() -> None:
        helper = Helper("synthesis")
        with pytest.raises(SpeechFailed, match="no voice 'martian'"):
            await helper.ask(Say("hello", "martian", 160), Speech, 30)
        pid = helper.pid
        with pytest.raises(SpeechFailed, match="Speech"):
            await helper.ask(HELLO, Heard, 30)
        assert (await helper.ask(HELLO, Speech, 30)).pcm and helper.pid == pid
        await helper.close()

    asyncio.run(scene())


def test_one_that_hangs_is_ended() -> None:
    async def scene() -> None:
        helper = Helper("synthesis")
        await helper.ask(HELLO, Speech, 30)
        pid = helper.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SpeechFailed, match="no answer within"):
            await helper.ask(HELLO, Speech, 0.05)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        await helper.close()

    asyncio.run(scene())


def test_requests_at_once_each_get_their_own_answer() -> None:
    async def scene() -> None:
        helper = Helper("synthesis")
        texts = ["one", "two and twenty", "a much longer sentence than the others"]
        alone = [await helper.ask(Say(text, "en-us", 160), Speech, 30) for text in texts]
        together = await asyncio.gather(*(helper.ask(Say(text, "en-us", 160), Speech, 30) for text in texts))
        assert len({len(speech.pcm) for speech in alone}) == 3
        for one, other in zip(alone, together, strict=True):  # espeak-ng varies a little from time to time
            assert abs(len(one.pcm) - len(other.pcm)) < 0.02 * len(one.pcm)
        await helper.close()

    asyncio.run(scene())
