"""Digest on both sides: the RFCs' own vectors, what is answered how often, and what a server believes."""

import base64

import pytest

from sip_front import digest
from sip_front.digest import STRENGTH, Attempt, Client, Credentials, Server, User, digest_response, parse_parameters
from sip_front.message import Headers, Request, Response

URI = "sip:100@192.0.2.1"
SECOND = 1_000_000_000
START = 1_000 * SECOND


def request(method: str = "INVITE") -> Request:
    return Request(method, URI, Headers())


def refused(*values: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, "Unauthorized", Headers([(name, value) for value in values]))


def client(realm: str = "") -> Client:
    return Client(Credentials("alice", "secret", realm), lambda: "0a4f113b")


# ---- the RFCs' vectors ---------------------------------------------------------------------------------------------

MUFASA = Credentials("Mufasa", "Circle of Life")
RFC_7616 = {
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "qop": "auth",
    "nc": "00000001",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_agrees_with_rfc_7616_section_3_9_1(algorithm: str, expected: str) -> None:
    hashed = STRENGTH[algorithm]
    ha1 = MUFASA.ha1(hashed, "http-auth@example.org")
    assert digest_response(hashed, ha1, "GET", "/dir/index.html", **RFC_7616) == expected  # type: ignore[arg-type]


def test_agrees_with_rfc_2617_section_3_5() -> None:
    hashed = STRENGTH["MD5"]
    ha1 = Credentials("Mufasa", "Circle Of Life").ha1(hashed, "testrealm@host.com")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    found = digest_response(hashed, ha1, "GET", "/dir/index.html", nonce, qop="auth", nc="00000001", cnonce="0a4f113b")
    assert found == "6629fae49393a05397450978507c4ef1"


def test_without_qop_agrees_with_rfc_2069_as_corrected() -> None:
    hashed = STRENGTH["MD5"]
    ha1 = Credentials("Mufasa", "CircleOfLife").ha1(hashed, "testrealm@host.com")
    nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert digest_response(hashed, ha1, "GET", "/dir/index.html", nonce) == "1949323746fe6a43ef61f9606e7febea"


def test_sha_512_256_is_not_a_shortened_sha_512() -> None:
    """FIPS 180-4: it starts from other values, which RFC 7616's own example got wrong (erratum 4897)."""
    assert STRENGTH["SHA-512-256"](b"abc") == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"


# ---- client --------------------------------------------------------------------------------------------------------


def answer(value: str, status: int = 401, **more: str) -> dict[str, str]:
    sent = request()
    assert client(**more).answer(sent, refused(value, status=status), Attempt()) == ""
    given = sent.headers.get("Authorization" if status == 401 else "Proxy-Authorization")
    assert given is not None
    return parse_parameters(given) or {}


def test_a_challenge_is_answered_with_all_that_it_wants_back() -> None:
    given = answer('Digest realm="r", nonce="n", qop="auth,auth-int", opaque="o", algorithm=SHA-256')
    assert (given["username"], given["realm"], given["nonce"], given["uri"]) == ("alice", "r", "n", URI)
    assert (given["qop"], given["nc"], given["cnonce"], given["opaque"]) == ("auth", "00000001", "0a4f113b", "o")
    assert given["algorithm"] == "SHA-256" and len(given["response"]) == 64


def test_407_is_answered_in_its_own_header() -> None:
    assert answer('Digest realm="r", nonce="n"', status=407)["realm"] == "r"


def test_without_qop_there_is_no_count() -> None:
    assert not {"qop", "nc", "cnonce", "algorithm"} & answer('Digest realm="r", nonce="n"').keys()


def test_a_quote_in_a_realm_comes_back_as_it_was() -> None:
    assert answer(r'Digest realm="a \"b\", c\\", nonce="n"')["realm"] == 'a "b", c\\'


def test_of_several_challenges_the_strongest_known_is_answered() -> None:
    sent = request()
    unknown = 'Digest realm="r", nonce="x", algorithm=WHIRLPOOL'
    both = ('Digest realm="r", nonce="m", algorithm=MD5', 'Digest realm="r", nonce="s", algorithm=SHA-256')
    assert client().answer(sent, refused(unknown, 'Basic realm="r"', *both), Attempt()) == ""
    assert (parse_parameters(sent.headers.get("Authorization") or "") or {})["nonce"] == "s"


def test_auth_int_takes_the_body_in() -> None:
    plain, with_body = request(), request()
    with_body.body = b"v=0"
    answers = []
    for sent in (plain, with_body):
        client().answer(sent, refused('Digest realm="r", nonce="n", qop="auth-int"'), Attempt())
        answers.append((parse_parameters(sent.headers.get("Authorization") or "") or {})["response"])
    assert answers[0] != answers[1]


def test_the_same_credentials_are_not_sent_again_once_refused() -> None:
    attempt, ours = Attempt(), client()
    assert ours.answer(request(), refused('Digest realm="r", nonce="1"'), attempt) == ""
    assert "refuses the credentials of user 'alice'" in ours.answer(request(), refused('Digest realm="r", nonce="2"'), attempt)


def test_a_stale_nonce_is_forgiven_once() -> None:
    attempt, ours = Attempt(), client()
    stale = refused('Digest realm="r", nonce="2", stale=TRUE')
    assert ours.answer(request(), refused('Digest realm="r", nonce="1"'), attempt) == ""
    assert ours.answer(request(), stale, attempt) == ""
    assert ours.answer(request(), stale, attempt) != ""


def test_a_proxy_and_the_far_end_behind_it_may_both_ask() -> None:
    attempt, ours, sent = Attempt(), client(), request()
    assert ours.answer(sent, refused('Digest realm="proxy", nonce="1"', status=407), attempt) == ""
    assert ours.answer(sent, refused('Digest realm="far", nonce="2"'), attempt) == ""
    assert sent.headers.get("Authorization") and sent.headers.get("Proxy-Authorization")


def test_another_realm_never_sees_an_answer() -> None:
    sent = request()
    why = client("trunk.example").answer(sent, refused('Digest realm="evil.example", nonce="n"'), Attempt())
    assert "'evil.example'" in why and "'trunk.example' only" in why and sent.headers.get("Authorization") is None


def test_a_nonce_is_used_again_with_the_next_count() -> None:
    ours = client()
    ours.answer(request(), refused('Digest realm="r", nonce="n", qop="auth"'), Attempt())
    following = request("BYE")
    ours.apply(following)
    given = parse_parameters(following.headers.get("Authorization") or "") or {}
    assert (given["nonce"], given["nc"]) == ("n", "00000002")


def test_a_nonce_without_count_is_not_used_again_unasked() -> None:
    ours, following = client(), request("BYE")
    ours.answer(request(), refused('Digest realm="r", nonce="n"'), Attempt())
    ours.apply(following)
    assert following.headers.get("Authorization") is None


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Credentials("alice", "secret")) + repr(User.with_password("alice", "r", "secret"))


# ---- server --------------------------------------------------------------------------------------------------------

REALM, SOURCE = "bellframe", "192.0.2.7"


def server(**users: str) -> Server:
    named = users or {"alice": "secret"}
    return Server(REALM, {name: User.with_password(name, REALM, password) for name, password in named.items()})


def challenged(ours: Server, now_ns: int = START, source: str = SOURCE) -> Response:
    return Response(401, "Unauthorized", Headers(ours.challenge(source, now_ns)))


def authorized(ours: Server, username: str = "alice", password: str = "secret", now_ns: int = START) -> tuple[Client, Request]:
    """A client that was challenged, and its request with credentials."""
    caller, sent = Client(Credentials(username, password)), request()
    assert caller.answer(sent, challenged(ours, now_ns), Attempt()) == ""
    return caller, sent


def test_who_knows_the_password_passes_and_the_strongest_algorithm_was_used() -> None:
    ours = server()
    _, sent = authorized(ours)
    assert ours.verify(sent, SOURCE, START) == ("passed", "alice", True)
    assert "algorithm=SHA-256" in (sent.headers.get("Authorization") or "")


def test_without_credentials_nothing_is_remembered() -> None:
    ours = server()
    assert ours.verify(request(), SOURCE, START).kind == "absent" and ours.used == {}


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", "secret")])
def test_a_wrong_password_and_an_unknown_user_are_the_same(username: str, password: str) -> None:
    ours = server()
    _, sent = authorized(ours, username, password)
    assert ours.verify(sent, SOURCE, START) == ("refused", username, True) and ours.used == {}


def test_the_same_credentials_pass_only_once() -> None:
    ours = server()
    _, sent = authorized(ours)
    assert [ours.verify(sent, SOURCE, START).kind for _ in range(2)] == ["passed", "stale"]


def test_a_nonce_serves_many_requests_with_rising_counts() -> None:
    ours = server()
    caller, first = authorized(ours)
    second = request()
    caller.apply(second)
    assert ours.verify(second, SOURCE, START).kind == "passed"
    assert ours.verify(first, SOURCE, START).kind == "stale", "an older count"


def test_a_nonce_is_for_the_one_who_got_it_and_for_its_time() -> None:
    ours = server()
    for source, at_ns in (("192.0.2.8", START), (SOURCE, START + digest.NONCE_LIFE_NS + 1), (SOURCE, START - 2 * SECOND)):
        _, sent = authorized(ours)
        assert ours.verify(sent, source, at_ns).kind == "stale"


def test_a_nonce_that_was_made_up_is_stale_even_with_the_right_password() -> None:
    ours, sent = server(), request()
    for nonce in ("!", "x", base64.b64encode(bytes(32)).decode(), "ÿ"):
        asked = refused(f'Digest realm="{REALM}", nonce="{nonce}", qop="auth"')
        Client(Credentials("alice", "secret")).answer(sent, asked, Attempt())
        assert ours.verify(sent, SOURCE, START).kind == "stale"
        Client(Credentials("alice", "wrong")).answer(sent, asked, Attempt())
        assert ours.verify(sent, SOURCE, START) == ("refused", "alice", False)


def test_credentials_for_another_request_are_refused() -> None:
    ours = server()
    _, sent = authorized(ours)
    other = Request("INVITE", "sip:+900123@192.0.2.1", sent.headers)
    assert ours.verify(other, SOURCE, START).kind == "refused"
    assert ours.verify(Request("BYE", URI, sent.headers), SOURCE, START).kind == "refused"


@pytest.mark.parametrize(
    ("requested", "kind"),
    [("sip:100@10.0.0.5:5070", "passed"), ("sip:101@192.0.2.1", "refused"), ("sip:192.0.2.1", "refused"), ("sip:bad uri", "refused")],
)
def test_a_proxy_may_change_the_host_and_nobody_the_number(requested: str, kind: str) -> None:
    ours = server()
    _, sent = authorized(ours)
    assert ours.verify(Request("INVITE", requested, sent.headers), SOURCE, START).kind == kind


def test_what_is_remembered_is_bounded_and_what_is_forgotten_does_not_pass_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "MAX_NONCES", 3)
    ours = server()
    sent = [authorized(ours, now_ns=START + n)[1] for n in range(10)]
    assert {ours.verify(one, SOURCE, START + 20).kind for one in sent} == {"passed"} and len(ours.used) == 3
    assert {ours.verify(one, SOURCE, START + 20).kind for one in sent} == {"stale"}


def test_only_what_every_user_can_answer_is_asked() -> None:
    ha1 = STRENGTH["MD5"](f"old:{REALM}:secret".encode())
    ours = Server(REALM, {"old": User("old", {"MD5": ha1}), "new": User.with_password("new", REALM, "secret")})
    assert ours.algorithms == ["MD5"]
    _, sent = authorized(ours, "old")
    assert ours.verify(sent, SOURCE, START).kind == "passed"


@pytest.mark.parametrize(
    "value",
    ["", "Digest", "Basic abc", 'Digest realm="bellframe", realm="bellframe"', 'Digest realm="bellframe"', "Digest " + "a=b," * 2_000,
     'Digest realm="bellframe", username="\udcff", nonce="\udcff", response="\udcff", uri="sip:100@192.0.2.1", qop=auth, nc=1'],
)  # fmt: skip
def test_nonsense_raises_nothing(value: str) -> None:
    sent = request()
    sent.headers.add("Authorization", value)
    assert server().verify(sent, SOURCE, START).kind in ("absent", "refused")
    client().answer(request(), refused(value), Attempt())
