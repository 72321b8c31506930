"""A campaign with its files: what is ordered, and what an answer of the front means. Who asks the front, and waits, is somebody else.

commands/campaign.py runs one in the foreground, http/campaigns.py those of the API.
"""

import time
from collections import Counter

import msgspec

from control_plane.campaign import Campaign, Entry, Settled
from control_plane.campaign_file import CampaignFile
from control_plane.messages import CallFacts, Calls, Failed, Message, Originate


class Settings(msgspec.Struct, frozen=True):
    trunk: str
    agent: str
    per_second: float
    concurrent: int
    caller: str = ""
    tenant: str = ""
    is_stopped: bool = False


class Run:
    def __init__(self, settings: Settings, file: CampaignFile, entries: list[Entry]) -> None:
        self.settings, self.file = settings, file
        self.campaign = Campaign(file.name, settings.per_second, settings.concurrent)
        self.campaign.add(entries, file.dialled, file.settled)
        self.campaign.is_stopped = settings.is_stopped
        self.outcomes: Counter[str] = Counter(file.outcomes)

    def order(self, entry: Entry) -> Originate:
        """What goes to the front once `file.note_dialling` has written it down. Again and again, until it answers: it is the same call."""
        given = self.settings
        call_id = self.campaign.call_id(entry)
        return Originate(call_id, entry.number, given.agent, given.caller, entry.arguments, given.trunk, tenant=given.tenant)

    def take_answer(self, entry: Entry, answer: Message, now: float) -> Settled | None:
        """To the order. `now`: of the clock that the campaign is asked by."""
        if not isinstance(answer, Failed):
            return None
        if answer.status == 503:
            self.campaign.put_back(entry, now)
            self.file.note_not_dialled(entry)
            return None
        return self._write(self.campaign.fail(entry, "failed", answer.why, time.time()))

    def take_facts(self, facts: CallFacts) -> Settled | None:
        settled = self.campaign.settle(facts)
        return self._write(settled) if settled else None

    def take_look(self, entry: Entry, answer: Message) -> Settled | None:
        """What the front says when it is asked for a call."""
        if isinstance(answer, Calls) and answer.calls:
            return self.take_facts(answer.calls[0])
        if isinstance(answer, Failed) and self.campaign.call_id(entry) in self.campaign.active:
            why = "dialled, and the server knows nothing of it any more; it is not dialled again"
            return self._write(self.campaign.fail(entry, "unknown", why, time.time()))
        return None

    def _write(self, settled: Settled) -> Settled:
        self.file.write(settled)
        self.outcomes[settled.outcome] += 1
        return settled
