"""Why a call ended, as SIP says it: the Reason header (RFC 3326) with causes of Q.850, written and read."""

from sip_front.header import split_list
from sip_front.message import Message
from sip_front.uri import parse_number, quoted

NORMAL_CLEARING, TEMPORARY_FAILURE, NORMAL_UNSPECIFIED = 16, 41, 31
MAX_REASONS = 4  # in one message that are looked at
MAX_TEXT = 120

CAUSES = {  # Q.850 table 1: those that carriers send
    1: "unallocated number",
    2: "no route to the transit network",
    3: "no route to the destination",
    16: "normal call clearing",
    17: "user busy",
    18: "no user responding",
    19: "no answer from the user",
    20: "subscriber absent",
    21: "call rejected",
    22: "number changed",
    26: "non-selected user clearing",
    27: "destination out of order",
    28: "invalid number format",
    29: "facility rejected",
    31: "normal, unspecified",
    34: "no circuit available",
    38: "network out of order",
    41: "temporary failure",
    42: "switching equipment congestion",
    44: "requested circuit not available",
    47: "resource unavailable",
    50: "requested facility not subscribed",
    55: "incoming calls barred",
    57: "bearer capability not authorized",
    58: "bearer capability not available",
    63: "service not available",
    65: "bearer capability not implemented",
    79: "service not implemented",
    87: "user not member of the closed group",
    88: "incompatible destination",
    102: "recovery on timer expiry",
    111: "protocol error",
    127: "interworking, unspecified",
}


def reason(text: str, q850: int) -> str:
    """The header's value, for a BYE or a CANCEL of ours."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "").replace('"', "'")
    return f'Q.850;cause={q850};text="{"".join(c for c in plain if c >= " ")[:MAX_TEXT]}"'


def read_reason(message: Message) -> str:
    """What the far end gives as its reason, for people: "Q.850 17: user busy". Empty: nothing that can be read."""
    said = [text for value in message.headers.get_all("Reason")[:MAX_REASONS] if (text := _read(value))]
    return "; ".join(said)


def _read(value: str) -> str:
    protocol, *parameters = split_list(value, ";")
    found = {name.strip().lower(): text.strip() for name, _, text in (item.partition("=") for item in parameters)}
    number = parse_number(found.get("cause", ""), 999)
    said = quoted(found["text"].strip('"'), MAX_TEXT)[1:-1] if found.get("text") else ""
    if protocol.strip().lower() == "q.850" and number is not None:
        said = said or CAUSES.get(number, "")
    place = quoted(protocol.strip(), 20)[1:-1] + ("" if number is None else f" {number}")
    return f"{place}: {said}" if said else place
