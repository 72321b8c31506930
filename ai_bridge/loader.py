"""From an agent's name in the configuration to its class."""

import importlib
import sys

from ai_bridge.agent import Agent, BatchAgent
from ai_bridge.agents import BUILT_IN
from ai_bridge.models import MODELS
from ai_bridge.twiml import TWIML
from ai_bridge.wires.bot import bot_at
from ai_bridge.wires.door_bot import DOORS, door_bot
from control_plane.errors import ConfigurationError

AgentClass = type[Agent] | type[BatchAgent]


def load(reference: str) -> AgentClass:
    """The class that "echo", "MODULE:CLASS", "door:NAME", or an address such as "twilio+wss://bot.example/media" stands for.

    Raises ConfigurationError saying what was looked for, where, and what to change; the cause is chained if the
    module itself raised.
    """
    if reference.partition("+")[0] == TWIML:
        from ai_bridge.twiml.agent import twiml_at  # the same

        return twiml_at(reference)
    if "://" in reference:
        if reference.partition("+")[0] not in MODELS:
            return bot_at(reference)
        from ai_bridge.models.agent import model_at  # brings an HTTP client, which nothing else here wants

        return model_at(reference)
    if reference.partition(":")[0] in DOORS:
        return door_bot(reference)
    path = BUILT_IN.get(reference, reference)
    module_name, colon, class_name = path.partition(":")
    if not colon or not module_name or not class_name:
        raise ConfigurationError(
            f'agent "{reference}": there is no such built-in agent ({", ".join(BUILT_IN)}). '
            'Your own is named MODULE:CLASS, for example "my_agent:MyAgent", a bot elsewhere WIRE+wss://HOST/PATH, or door:NAME'
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as failure:
        if failure.name is None or not (module_name == failure.name or module_name.startswith(f"{failure.name}.")):
            needs = f'{module_name} needs the module "{failure.name}", which is not installed for {sys.executable}'
            raise ConfigurationError(f'agent "{reference}": {needs}') from failure
        folders = ", ".join(path or "." for path in sys.path[:2])
        remedy = f"Put {module_name.partition('.')[0]}.py into the folder that bridge.modules names, or start Bellframe in its folder"
        raise ConfigurationError(
            f'agent "{reference}": there is no module "{module_name}" on the path ({folders}, ...). {remedy}'
        ) from None
    except (Exception, SystemExit) as failure:
        raise ConfigurationError(f'agent "{reference}": loading {module_name} failed: {type(failure).__name__}: {failure}') from failure
    found = getattr(module, class_name, None)
    if isinstance(found, type) and issubclass(found, Agent | BatchAgent):
        return found
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Agent | BatchAgent)}
    agents = [name for name, value in classes.items() if value not in (Agent, BatchAgent)]
    what = f"has no {class_name}" if found is None else f"has {class_name}, but it is not a subclass of ai_bridge.Agent or BatchAgent"
    has = f"It has {', '.join(agents)}" if agents else "It has no agent at all: write `class MyAgent(ai_bridge.Agent)`"
    raise ConfigurationError(f'agent "{reference}": {getattr(module, "__file__", module_name)} {what}. {has}')
