"""Whose datagram is it, on a port that calls share? The rules of media_workers/shared_port.py, as dictionaries."""

from typing import NamedTuple

Address = tuple[int, int, int]
ANY = -1


class Place(NamedTuple):
    """Where a call is entered: what tells it apart at each of its addresses."""

    row: int
    ssrc: int


class SharedPort:
    def __init__(self) -> None:
        self.at: dict[Address, list[Place]] = {}
        self.split: set[Address] = set()
        """Addresses that several calls have, or had since it was last empty: the SSRC decides there."""
        self.by_ssrc: dict[int, int] = {}

    def find(self, address: Address, ssrc: int) -> int:
        places = self.at.get(address, [])
        if places and address not in self.split:
            return places[0].row
        for place in places:
            if place.ssrc == ssrc:
                return place.row
        return self.by_ssrc.get(ssrc, -1)

    def enter(self, row: int, ssrc: int, addresses: list[Address], is_known_by_ssrc: bool) -> None:
        for address in addresses:
            places = self.at.setdefault(address, [])
            if any(place.row == row for place in places):
                continue
            if not places:
                places.append(Place(row, ssrc))
                continue
            if ssrc == ANY or any(place.ssrc in (ANY, ssrc) for place in places):
                continue
            self.split.add(address)
            places.append(Place(row, ssrc))
        if ssrc != ANY and is_known_by_ssrc:
            self.by_ssrc.setdefault(ssrc, row)

    def leave(self, row: int) -> None:
        for address, places in list(self.at.items()):
            places[:] = [place for place in places if place.row != row]
            if not places:
                del self.at[address]
                self.split.discard(address)
        self.by_ssrc = {ssrc: holder for ssrc, holder in self.by_ssrc.items() if holder != row}
