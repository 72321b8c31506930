"""Whom the doctor looks at, and what is found."""

from typing import Literal, NamedTuple

from control_plane.config import Config
from control_plane.doctor.machine import Machine
from control_plane.messages import Status

Weight = Literal["broken", "risky", "hint"]


class Finding(NamedTuple):
    weight: Weight
    what: str
    remedy: str


class CallSound(NamedTuple):
    """What has passed in one call that is up."""

    call_id: str
    seconds: float
    packets_received: int
    packets_sent: int
    lost: int


class Patient(NamedTuple):
    """All that a check may look at."""

    machine: Machine
    config: Config
    status: Status | None
    """None: no server answers."""
    calls: tuple[CallSound, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.status is not None
