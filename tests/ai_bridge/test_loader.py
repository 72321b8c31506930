import sys

import pytest

from ai_bridge.agents import BUILT_IN
from ai_bridge.agents.echo import Echo
from ai_bridge.loader import load
from control_plane.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_built_in_agent_is_found_by_its_name():
    assert load("echo") is Echo and load("ai_bridge.agents.echo:Echo") is Echo


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "menu"])
def test_every_row_of_the_table_loads(name):
    assert load(name).__module__.startswith("ai_bridge.agents.")


def test_an_own_agent_is_found_in_its_module(folder):
    (folder / "shop_one.py").write_text("from ai_bridge import Agent\nclass Shop(Agent):\n    pass\n")
    assert load("shop_one:Shop").__name__ == "Shop"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("eco", r'"eco": there is no such built-in agent \(echo, .*MODULE:CLASS'),
        ("shop_two:", "MODULE:CLASS"),
        ("nowhere_at_all:Shop", r'no module "nowhere_at_all" on the path \(.*Put nowhere_at_all.py into the folder that bridge'),
        ("shop_two:Sop", r"shop_two.py has no Sop. It has Shop"),
        ("shop_two:price", r"has price, but it is not a subclass of ai_bridge.Agent"),
        ("shop_empty:Shop", r"It has no agent at all: write `class MyAgent\(ai_bridge.Agent\)`"),
        ("shop_needy:Shop", r'shop_needy needs the module "a_model_nobody_has", which is not installed'),
        ("shop_broken:Shop", "loading shop_broken failed: SyntaxError"),
        ("shop_crash:Shop", "loading shop_crash failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_reference_says_what_to_do(folder, reference, why):
    (folder / "shop_two.py").write_text("from ai_bridge import Agent\nclass Shop(Agent):\n    pass\nprice = 3\n")
    (folder / "shop_empty.py").write_text("")
    (folder / "shop_needy.py").write_text("import a_model_nobody_has\n")
    (folder / "shop_broken.py").write_text("def\n")
    (folder / "shop_crash.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError, match=why):
        load(reference)
