"""G.729 is spoken where the operator names a library for it (media.g729_library): bcg729, which is under the GPL 3, so it is neither
bundled nor required, and nothing of it is loaded otherwise. Its licence is for whoever names it to accept.
"""

import ctypes

REMEDY = 'G729 needs media.g729_library = "libbcg729.so.0", or its path: apt-get install libbcg729-0 (GPL 3, so it is yours to choose)'
WANTED = ("initBcg729DecoderChannel", "initBcg729EncoderChannel", "bcg729Decoder", "bcg729Encoder")


def why_not(name: str) -> str:
    """Empty: it can be loaded."""
    if not name:
        return REMEDY
    try:
        library = ctypes.CDLL(name)
    except OSError as failure:
        return f"{name} cannot be loaded ({failure}); {REMEDY}"
    missing = [symbol for symbol in WANTED if not hasattr(library, symbol)]
    return f"{name} has no {missing[0]}: it is not bcg729 1.1 or later; {REMEDY}" if missing else ""
