"""The demo's scenes: names as the agents and the bots have them, scripts that the phone reads."""

import json

import pytest

from ai_bridge.agents import BUILT_IN
from ai_bridge.wires.demo_bot import DIALECTS
from control_plane.commands.demo_scenes import AGENTS, OWN, PHRASES, WIRES, Scene
from sip_front import phone_script


def test_there_is_a_scene_for_every_built_in_agent_and_for_every_wire_of_the_bot() -> None:
    assert set(AGENTS) == set(BUILT_IN) and set(WIRES) == set(DIALECTS)


@pytest.mark.parametrize("scene", [*AGENTS.values(), OWN, *WIRES.values()])
def test_the_scripts_say_only_what_was_prepared(scene: Scene) -> None:
    steps = phone_script.parse(json.dumps(scene.script))
    assert {step["wav"]: step["text"] for step in scene.script if "wav" in step}.items() <= PHRASES.items()
    assert set(phone_script.recordings(steps)) <= set(PHRASES)


def test_arguments_name_the_folder_that_the_demo_leaves() -> None:
    assert AGENTS["voicemail"].arguments_with("/somewhere") == {"directory": "/somewhere/messages"}
