"""What the configuration refuses: values that the types allow and the server cannot work with."""

import math
import operator
import os
import pathlib
from typing import Any

import msgspec
import pytest

from control_plane import config
from control_plane.config import LIMITS, Config
from control_plane.errors import ConfigurationError
from control_plane.trunk_config import Trunk


def with_value(setting: str, value: float) -> Config:
    *sections, field = setting.split(".")
    values: dict[str, Any] = {"media": {"workers": 1}}
    part = values
    for section in sections:
        part = part.setdefault(section, {})
    part[field] = value
    return msgspec.convert(values, Config)


@pytest.mark.parametrize(("setting", "low", "high", "remedy"), LIMITS, ids=lambda value: value if "." in str(value) else "")
def test_a_number_out_of_its_limits_is_refused_with_the_remedy(setting: str, low: float, high: float, remedy: str) -> None:
    default = operator.attrgetter(setting)(Config())
    outside = (low - 1, -1, high + 1) if isinstance(default, int) else (low - 0.01, -1.0, high + 1.0, math.nan, math.inf, -math.inf)
    for value in outside:
        with pytest.raises(ConfigurationError) as refused:
            config.check(with_value(setting, value))
        assert str(refused.value) == f"{setting}: {value} is not from {low} to {high}; {remedy}"
    for value in (low, default, high):
        config.check(with_value(setting, value))


def test_every_number_has_its_limits() -> None:
    numbers = {
        f"{section}.{name}"
        for section in ("sip", "media", "media.opus", "bridge", "http", "records")
        for name in operator.attrgetter(section)(Config()).__struct_fields__
        if type(operator.attrgetter(f"{section}.{name}")(Config())) in (int, float)
    }
    assert numbers == {setting for setting, *_ in LIMITS}


@pytest.mark.parametrize("cores", ["5-2", "0-99999999999", "1,,2", "a"])
def test_cores_that_are_none_are_refused(cores: str) -> None:
    with pytest.raises(ConfigurationError, match=r"media\.cores"):
        config.check(Config(media=config.Media(cores=cores, workers=2)))


def test_a_file_with_nan_is_refused_with_its_name(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "bellframe.toml"
    file.write_text("[sip]\ndrain_seconds = nan\n")
    with pytest.raises(ConfigurationError, match=r"bellframe\.toml: sip\.drain_seconds: nan is not from 0 to"):
        config.load(file)


def test_srtp_is_one_of_three_words() -> None:
    for policy in ("off", "preferred", "required"):
        config.check(Config(media=config.Media(srtp=policy)))
    with pytest.raises(ConfigurationError, match=r'media\.srtp: "on" is none of "off", "preferred" and "required"'):
        config.check(Config(media=config.Media(srtp="on")))


def test_how_many_calls_there_can_be_with_and_without_a_shared_port() -> None:
    media = config.Media(rtp_ports="10000-10020", workers=2, cores=str(min(os.sched_getaffinity(0))), shared_port_calls=100)
    plain, sharing = (config.Config(media=media, trunks=(Trunk("carrier", shared_rtp_port=shared),)) for shared in (False, True))
    assert (plain.shared_port_calls(), plain.most_calls()) == (0, 10)
    assert (sharing.shared_port_calls(), sharing.most_calls()) == (100, 8 + 200), "two ports are shared, the others belong to a call each"
