"""How good a call sounds, as an agent is told every few seconds."""

from typing import NamedTuple


class Quality(NamedTuple):
    """Of what the agent heard since the last one."""

    mos: float
    """1 to 4.5, by the E-model (ITU-T G.107): 4.4 is a perfect telephone call, below 3.6 many complain."""
    lost_percent: float
    """Packets that never came, or too late."""
    jitter_ms: float
    rtt_ms: float
    """To the far end and back; 0: it sends no reports."""
