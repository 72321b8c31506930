import pytest

from control_plane.credentials import Credentials
from control_plane.errors import ConfigurationError
from control_plane.secret import Secret


def test_a_key_is_found_in_the_configuration_then_in_a_credential_then_in_the_environment(tmp_path):
    (tmp_path / "openai").write_text("of the credential\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "OPENAI_API_KEY": "of the environment", "MY_BOT_API_KEY": "mine"}
    assert Credentials({"openai": Secret("configured")}, environment).find("openai", "key").reveal() == "configured"
    assert Credentials({}, environment).find("openai", "key").reveal() == "of the credential"
    assert Credentials({}, {"OPENAI_API_KEY": "of the environment"}).find("openai", "key").reveal() == "of the environment"
    assert Credentials({}, environment).find("my-bot", "key").reveal() == "mine"


def test_a_key_that_is_nowhere_is_told_with_every_place_it_could_be_in():
    with pytest.raises(ConfigurationError, match=r'openai = "\.\.\." under \[keys\].*LoadCredential=openai:FILE.*OPENAI_API_KEY'):
        Credentials({}, {}).find("openai", "the route's arguments: key")


@pytest.mark.parametrize("name", ["sk-proj-abcdefghijklmnopqrstuvwxyz0123456789", "../openai", "", "OpenAI", "a b"])
def test_what_is_no_name_is_not_shown(name):
    with pytest.raises(ConfigurationError, match="no name of a key") as refused:
        Credentials({}, {}).find(name, "key")
    assert not name or name not in str(refused.value)


def test_nothing_shows_the_keys():
    assert "sk-1" not in repr(vars(Credentials({"openai": Secret("sk-1")})))
