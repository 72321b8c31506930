from typing import ClassVar

import pytest

from ai_bridge.arguments import Arguments, read
from control_plane.errors import ConfigurationError


class Some(Arguments, frozen=True):
    LIMITS: ClassVar[tuple[tuple[str, float, float], ...]] = (("times", 0, 3),)
    name: str = "x"
    times: int = 1


def test_ours_are_taken_and_the_rest_is_left():
    assert read(Some, {"times": "2", "shop": "12"}) == (Some(times=2), {"shop": "12"})


@pytest.mark.parametrize(("times", "why"), [("4", "times is 4, not from 0 to 3"), ("many", "the route's arguments: .*times")])
def test_what_is_wrong_is_named(times, why):
    with pytest.raises(ConfigurationError, match=why):
        read(Some, {"times": times})
