"""What we take, as SIP says it: methods, extensions, bodies."""

SDP = "application/sdp"
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK", "NOTIFY", "REFER")
OTHER_METHODS = ("MESSAGE", "PUBLISH", "REGISTER", "SUBSCRIBE")
"""Those that we know of and do not serve: 405. To the rest, 501 (RFC 3261 21.5.2)."""
ALLOW = ", ".join(METHODS)
EXTENSIONS = ("100rel", "norefersub", "replaces", "timer")
"""Option tags: what a far end may require (RFC 3261 19.2)."""


def extensions(session_expires_s: int) -> tuple[str, ...]:
    """Those that this server speaks: session timers may be turned off."""
    return tuple(name for name in EXTENSIONS if name != "timer" or session_expires_s)


def is_sdp(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == SDP
