"""Who hears whom in a room, in the words of the documentation."""

LISTENING = ("talk", "listen", "whisper")
PartyName = tuple[str, bool]
"""A call, and whether its agent is meant."""


def is_heard(speaker: PartyName, listener: PartyName, roles: dict[PartyName, tuple[str, PartyName]]) -> bool:
    """`roles` has a party's role, and whom it whispers to."""
    if speaker == listener:
        return False
    role, to = roles[speaker]
    speaks = role == "talk" or (role == "whisper" and to == listener)
    if speaker[0] == listener[0]:
        return speaks if speaker[1] else roles[listener][0] != "out"
    return roles[listener][0] in LISTENING and speaks
