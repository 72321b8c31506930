"""Bots behind TLS: whom a call is given to, and what the log says of whom it is not."""

import asyncio
import pathlib
import ssl

import pytest

from control_plane.messages import AgentFailed, HangUp
from tests.ai_bridge.line import tone
from tests.ai_bridge.scene import stage
from tests.ai_bridge.wires.bots import Bot, listen, serving
from tests.pki import Authority, Pair

pytestmark = pytest.mark.peer


def server_side(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def why_it_was_not_called(tmp_path: pathlib.Path, pair: Pair, **arguments: str) -> str:
    """The cause of the call's end; empty if the bot got the call."""
    bot = Bot(listen)

    async def scenario() -> str:
        async with serving(bot, server_side(pair)), stage(tmp_path) as (scene, bridge):
            line = await scene.call(f"twilio+{bot.url}", arguments={"retries": "0", **arguments})
            line.caller_says(tone(160))
            scene.ring()
            await scene.until(lambda: scene.of(HangUp) or scene.of(AgentFailed) or (bot.sessions and bot.sessions[0].of("media")))
            why = [told.cause for told in scene.of(HangUp)] + [told.why for told in scene.of(AgentFailed)]
            scene.stop("a")
            await scene.until(lambda: not bridge.calls and not bridge._stopped)
            return why[0] if why else ""

    why = asyncio.run(scenario())
    assert bool(why) == (not bot.sessions), "a bot that is not trusted hears nothing"
    return why


def test_a_bot_with_a_certificate_of_ones_own(tmp_path, authority):
    assert why_it_was_not_called(tmp_path, authority.issue("bot"), ca_file=str(authority.certificate)) == ""


def test_who_is_not_vouched_for_does_not_get_the_call(tmp_path, authority):
    why = why_it_was_not_called(tmp_path, authority.issue("bot"))
    assert "cannot be trusted: unable to get local issuer certificate; ca_file of the route's arguments names" in why


def test_nor_does_who_is_vouched_for_under_another_name(tmp_path, authority):
    why = why_it_was_not_called(tmp_path, authority.issue("bot", "DNS:other.example"), ca_file=str(authority.certificate))
    assert "cannot be trusted: IP address mismatch" in why


def test_nor_who_is_vouched_for_by_somebody_else(tmp_path, authority):
    another = Authority(tmp_path / "another", "Another")
    assert "cannot be trusted" in why_it_was_not_called(tmp_path, authority.issue("bot"), ca_file=str(another.certificate))


@pytest.mark.parametrize(("text", "why"), [(None, "No such file"), ("nothing", "there is no certificate in it")])
def test_a_ca_file_that_is_none_is_told_of(tmp_path, authority, text, why):
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    assert f"ca_file: {path} cannot be read: {why}" in why_it_was_not_called(tmp_path, authority.issue("bot"), ca_file=str(path))
