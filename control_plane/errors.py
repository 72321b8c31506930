"""Errors say who must change. Only a process.py turns one into a SIP status, a log line and a counter."""


class BellframeError(Exception):
    """The text is for the one who must change something: what is wrong, and what to do about it."""

    sip_status = 500


class PeerViolation(BellframeError):
    """The far end broke its protocol. Answer, count, carry on."""

    sip_status = 400


class Refused(BellframeError):
    """Policy or configuration says no. The operator may change it."""

    sip_status = 403


class NotAcceptable(BellframeError):
    """The far end asks for media that we cannot do."""

    sip_status = 488


class Exhausted(BellframeError):
    """A limit was reached; the same request may succeed later."""

    sip_status = 503


class ConfigurationError(BellframeError):
    """The operator's configuration is wrong. The text names the place and the remedy."""


class Misuse(BellframeError):
    """We asked our own code for something illegal. A bug: let it surface."""
