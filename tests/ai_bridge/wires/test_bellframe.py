import hashlib
import hmac

from ai_bridge.wires.bellframe import Bellframe, sign
from tests.ai_bridge.wires.about import NOON, about


def test_the_upgrade_is_signed_over_time_call_and_path():
    headers = Bellframe(about(secret="s3cret")).headers()
    at = str(int(NOON.timestamp()))
    expected = hmac.new(b"s3cret", f"{at}.a1./media?b=2&a=1".encode(), hashlib.sha256).hexdigest()
    assert headers == {"Bellframe-Call": "a1", "Bellframe-Timestamp": at, "Bellframe-Signature": f"v1={expected}"}
    assert Bellframe(about()).headers() == {"Bellframe-Call": "a1"}
    assert sign(b"s", "1", "a", "wss://bot.example") == sign(b"s", "1", "a", "ws://other.example/"), "no path is the path /"
