import msgspec
import pytest

from control_plane import client
from control_plane.secret import Secret, decode_hook, reveal_hook


class Holder(msgspec.Struct):
    password: Secret = Secret()


def test_it_is_never_shown_unasked() -> None:
    holder = Holder(Secret("hush"))
    assert "hush" not in f"{holder} {holder!r} {holder.password} {client.plain(holder)}"
    assert holder.password.reveal() == "hush" and bool(holder.password) and not Secret()


def test_it_survives_the_way_through_a_file() -> None:
    encoded = msgspec.json.encode(Holder(Secret("hush")), enc_hook=reveal_hook)
    assert msgspec.convert(msgspec.json.decode(encoded), Holder, dec_hook=decode_hook).password == Secret("hush")


def test_anything_but_text_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="password"):
        msgspec.convert({"password": 5}, Holder, dec_hook=decode_hook)
