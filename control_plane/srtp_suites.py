"""The SRTP suites that we speak, and whether we do. A new one is a row here, and its policy in media_workers/libsrtp.py."""

from typing import NamedTuple

POLICIES = ("off", "preferred", "required")
"""What media.srtp and a trunk's srtp may be."""


class Suite(NamedTuple):
    name: str
    """As a=crypto has it."""
    number: int
    """What a row of the call table holds. Never 0: that is a call in the clear."""
    key_bytes: int
    salt_bytes: int
    source: str

    @property
    def secret_bytes(self) -> int:
        """Master key and salt, as they come behind inline:."""
        return self.key_bytes + self.salt_bytes


SUITES = {
    suite.name: suite
    for suite in (
        #     name                      number  key  salt
        Suite("AEAD_AES_128_GCM",        1,     16,  12, "RFC 7714"),
        Suite("AEAD_AES_256_GCM",        2,     32,  12, "RFC 7714"),
        Suite("AES_CM_128_HMAC_SHA1_80", 3,     16,  14, "RFC 4568"),
        Suite("AES_CM_128_HMAC_SHA1_32", 4,     16,  14, "RFC 4568"),
        Suite("AES_256_CM_HMAC_SHA1_80", 5,     32,  14, "RFC 6188"),
        Suite("AES_256_CM_HMAC_SHA1_32", 6,     32,  14, "RFC 6188"),
    )
}  # fmt: skip
"""By name, in our order of preference: AES-GCM costs half of what AES-CM with HMAC-SHA1 does; short tags come last of their kind."""
