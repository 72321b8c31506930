"""Pipecat from PyPI, with its pipelines in our process: they hear and speak on the rings."""

import pytest

from tests.environments import PIPECAT

pytestmark = [pytest.mark.pipecat, pytest.mark.timeout(420)]


def test_a_pipeline_hears_speaks_is_interrupted_exactly_and_ends_the_call(tmp_path):
    PIPECAT.run("tests.frameworks.pipecat_call", str(tmp_path))
