"""LiveKit Agents from PyPI, with their sessions in our process: they hear and speak on the rings."""

import pytest

from tests.environments import LIVEKIT

pytestmark = [pytest.mark.livekit, pytest.mark.timeout(420)]


def test_a_session_hears_answers_is_interrupted_exactly_and_ends_the_call(tmp_path):
    LIVEKIT.run("tests.frameworks.livekit_call", str(tmp_path))
