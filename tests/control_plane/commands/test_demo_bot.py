"""The demo's bot process, where it does not come up."""

import pytest

from control_plane.commands.demo_bot import Bot, BotFailed


def test_a_bot_that_does_not_come_up_says_why() -> None:
    with pytest.raises(BotFailed, match="invalid choice"):
        Bot("skype")
