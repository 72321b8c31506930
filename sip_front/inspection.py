"""What a request wants that we lack: header and content inspection, RFC 3261 8.2.2 and 8.2.3. Values only."""

from typing import NamedTuple

from sip_front.capabilities import SDP
from sip_front.message import Request
from sip_front.uri import quoted

WITH_SDP = ("INVITE", "UPDATE", "PRACK")


class Misunderstood(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...]
    why: str


def why_not_understood(request: Request, extensions: tuple[str, ...]) -> Misunderstood | None:
    """None: all of it is understood."""
    headers = request.headers
    missing = [name for name in headers.get_all("Require") if name.lower() not in extensions] if "Require" in headers else []
    if missing:
        names = ", ".join(missing)
        why = f"420: the caller insists on {quoted(names)}, which we lack; make it optional there"
        return Misunderstood(420, (("Unsupported", names),), why)
    if request.body and request.method in WITH_SDP:
        kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind != SDP or "Content-Encoding" in headers:
            why = f"415: an {request.method} with a body of {quoted(kind or 'no type')}; we read {SDP} only"
            return Misunderstood(415, (("Accept", SDP),), why)
    if request.method == "INVITE" and "Accept" in headers and not takes_sdp(headers.get_all("Accept")):
        accepted = quoted(headers.get("Accept") or "nothing")
        return Misunderstood(406, (), f"406: the caller takes {accepted} and no {SDP}, which our answer is; its Accept must name that")
    return None


def takes_sdp(accepted: list[str]) -> bool:
    """Of an Accept: whether the answer may be SDP (20.1)."""
    return any(kind.partition(";")[0].strip().lower() in (SDP, "application/*", "*/*") for kind in accepted)
