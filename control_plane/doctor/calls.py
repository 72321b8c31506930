"""What is wrong with the server that runs: its processes, and the sound of its calls."""

from collections.abc import Iterator

from control_plane.doctor.patient import Finding, Patient

SILENT_LIMIT_MS = 3_000
SETTLED_S = 5.0
"""A call this old has audio both ways, if it ever will."""
LOSS_LIMIT, WORTH_COUNTING = 0.02, 250


def processes(patient: Patient) -> Iterator[Finding]:
    if patient.status is None:
        return
    for peer in patient.status.peers:
        if peer.silent_ms > SILENT_LIMIT_MS:
            yield Finding(
                "broken", f"{peer.role} {peer.index} has not reported for {peer.silent_ms / 1000:.0f} s",
                f"its log; pid {peer.pid}",
            )  # fmt: skip
    for role, program in (("worker", "media_workers"), ("bridge", "ai_bridge")):
        if not any(peer.role == role for peer in patient.status.peers):
            yield Finding(
                "broken", f"no {role} has ever reported: calls are refused with 503",
                f"look whether {program} runs, and into its log",
            )  # fmt: skip


def one_way_audio(patient: Patient) -> Iterator[Finding]:
    settled = [call for call in patient.calls if call.seconds >= SETTLED_S]
    deaf = [call for call in settled if call.packets_received == 0]
    mute = [call for call in settled if call.packets_sent == 0]
    if deaf:
        yield Finding(
            "broken", f"in {len(deaf)} of {len(settled)} calls nothing arrives from the caller (such as {deaf[0].call_id})",
            "let media.rtp_ports (UDP) in through the firewall; behind NAT set sip.public_address",
        )  # fmt: skip
    if mute:
        text = f"in {len(mute)} of {len(settled)} calls we send nothing (such as {mute[0].call_id})"
        yield Finding(
            "broken", text,
            "`bellframe call show ID`: is it on hold, or is the address in the far end's SDP one of its private network?",
        )  # fmt: skip


def loss(patient: Patient) -> Iterator[Finding]:
    counted = [call for call in patient.calls if call.packets_received >= WORTH_COUNTING]
    bad = [call for call in counted if call.lost > LOSS_LIMIT * (call.packets_received + call.lost)]
    if bad:
        worst = max(bad, key=lambda call: call.lost / (call.packets_received + call.lost))
        share = worst.lost / (worst.packets_received + worst.lost)
        text = f"{len(bad)} of {len(counted)} calls lose over {LOSS_LIMIT:.0%} of what callers send (worst: {worst.call_id}, {share:.1%})"
        yield Finding(
            "risky", text,
            "the way there: a link that is full, Wi-Fi, or a firewall that shapes UDP; `mtr -u` towards the far end",
        )  # fmt: skip
