"""What became of a call, in one word, for those who asked for it: from who ended it, and the SIP status."""

from control_plane.messages import Outcome

OUTCOMES: dict[int, Outcome] = {  # of a call that we make, by its final response; any other 4xx is a rejection, the rest a failure
    408: "no answer",
    480: "no answer",
    486: "busy",
    487: "cancelled",
    600: "busy",
    603: "rejected",
    604: "rejected",
    606: "rejected",
    607: "rejected",  # RFC 8197
    608: "rejected",  # RFC 8688
}


def outcome_of(direction: str, was_answered: bool, has_rung: bool, ended_by: str, status: int) -> tuple[Outcome, int]:
    """The word, and the status of the final response to the INVITE: 0 while there is none.

    `ended_by`: FAR_END_ENDED, HANG_UP or FAILED, as the causes in call.py; empty while the call is up.
    """
    if was_answered:
        return "answered", 200
    if not ended_by:
        return ("ringing" if has_rung else "queued"), 0
    if ended_by == "FAILED":
        return "failed", status
    if direction == "inbound":
        return ("cancelled", 487) if ended_by == "FAR_END_ENDED" else ("rejected", status)
    if ended_by == "HANG_UP" and status != 408:
        return "cancelled", 487
    if status == 408 and not has_rung:
        return "failed", status  # nobody is there at all
    return OUTCOMES.get(status, "rejected" if 400 <= status < 500 else "failed"), status
