import datetime
import zoneinfo

import pytest

from control_plane.errors import ConfigurationError
from control_plane.hours import Hours


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("hours", "when", "holds"),
    [  # 2026-11-20 is a Friday
        ("Mon-Fri 08:00-18:00", "2026-11-20T08:00", True),
        ("Mon-Fri 08:00-18:00", "2026-11-20T17:59", True),
        ("Mon-Fri 08:00-18:00", "2026-11-20T18:00", False),
        ("Mon-Fri 08:00-18:00", "2026-11-21T12:00", False),
        ("08:00-18:00", "2026-11-21T12:00", True),
        ("Sat, Sun 00:00-24:00", "2026-11-22T23:59", True),
        ("Fri-Mon 08:00-09:00", "2026-11-22T08:30", True),
        ("Fri-Mon 08:00-09:00", "2026-11-24T08:30", False),
        ("friday 22:00-06:00", "2026-11-20T23:00", True),
        ("friday 22:00-06:00", "2026-11-21T05:59", True),
        ("friday 22:00-06:00", "2026-11-20T05:59", False),
        ("Sun 22:00-06:00", "2026-11-23T01:00", True),
    ],
)
def test_hours_of_the_week(hours: str, when: str, holds: bool) -> None:
    assert Hours((hours,), "Europe/Berlin", "routes[0]").hold(at(when)) is holds


def test_they_follow_the_clocks_of_their_zone() -> None:
    hours = Hours(("Mon-Sun 09:00-10:00",), "Europe/Berlin", "routes[0]")
    winter, summer = at("2026-03-28T08:30", "UTC"), at("2026-03-29T07:30", "UTC")  # the night between, clocks are put forward
    assert (hours.hold(winter), hours.hold(summer)) == (True, True)
    assert (hours.hold(winter - 3600), hours.hold(summer + 3600)) == (False, False)
    assert hours.local(summer) == "Sun 09:30"


@pytest.mark.parametrize(
    ("text", "zone", "reason"),
    [
        ("weekdays", "UTC", 'is not hours such as "Mon-Fri 08:00-18:00"'),
        ("Mon-Fry 08:00-18:00", "UTC", "names days that are none"),
        ("Mon-Wed-Fri 08:00-18:00", "UTC", "names days that are none"),
        ("Mon 08:60-18:00", "UTC", "is no time from 00:00 to 24:00"),
        ("Mon 24:00-18:00", "UTC", "is no time from 00:00 to 24:00"),
        ("Mon 08:00-08:00", "UTC", "all day is 00:00-24:00"),
        ("08:00-18:00", "Berlin", 'routes[0].time_zone: "Berlin" is not known here'),
        ("08:00-18:00", "../etc/passwd", "is not known here"),
    ],
)
def test_what_is_wrong_is_said(text: str, zone: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Hours((text,), zone, "routes[0]")
    assert reason in str(refused.value)
