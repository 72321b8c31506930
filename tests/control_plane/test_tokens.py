import pathlib

import pytest

from control_plane.errors import ConfigurationError
from control_plane.secret import Secret
from control_plane.tokens import Tokens, load_tokens

TOKEN, OTHER = "a-token-of-our-own-1", "a-token-of-our-own-2"


def test_tokens_come_from_a_file_and_from_a_credential(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").write_text(f"# for the dialler\n{TOKEN}\n\n{OTHER}\n")
    assert load_tokens((), str(tmp_path / "tokens"), "x") == (TOKEN, OTHER)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_tokens((Secret(TOKEN * 2),), "tokens", "x") == (TOKEN * 2, TOKEN, OTHER)


def test_a_token_is_known_or_not() -> None:
    tokens = Tokens((TOKEN, OTHER))
    assert tokens.bearer(f"bearer {TOKEN}") == tokens.find(TOKEN) != tokens.find(OTHER)
    assert tokens.bearer(f"Basic {TOKEN}") is None and tokens.find("") is None and not Tokens(()).bearer("Bearer ")
    assert bool(tokens) and not Tokens(())


@pytest.mark.parametrize("content", [None, "", "short\n", "with a space in it, long enough\n"])
def test_a_file_that_is_no_good_says_what_to_do(tmp_path: pathlib.Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokens").write_text(content)
    with pytest.raises(ConfigurationError, match=r"http\.token_file") as refused:
        load_tokens((), str(tmp_path / "tokens"), "http.token_file")
    assert "short" not in str(refused.value).replace("too short", "")
