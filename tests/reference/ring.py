"""The two rings of a call with everything ever written in a list: nothing is overwritten, cursors are positions in it."""

from typing import NamedTuple


class Said(NamedTuple):
    generation: int
    turn: int
    mark: int
    pcm: tuple[int, ...]


class ToAi:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.written: list[tuple[int, ...]] = []

    def publish(self, pcm: tuple[int, ...]) -> None:
        self.written.append(pcm)

    def read_at(self, cursor: int) -> tuple[int, tuple[int, ...] | None]:
        """The cursor to read next, and what was read. The slot that the producer may be writing is never read."""
        count = len(self.written)
        if cursor >= count:
            return cursor, None
        if count - cursor < self.slots:
            return cursor + 1, self.written[cursor]
        return count - self.slots + self.slots // 4, None


class FromAi:
    def __init__(self, slots: int, generation: int) -> None:
        self.slots, self.generation = slots, generation
        self.said: list[Said] = []
        self.read = self.turn = 0
        self.is_paused = False

    def room(self) -> int:
        return self.slots - (len(self.said) - self.read)

    def try_say(self, frame: Said) -> bool:
        if frame.generation != self.generation or self.room() == 0:
            return False
        self.said.append(frame)
        return True

    def try_take(self) -> Said | None:
        while self.read < len(self.said) and self.said[self.read].turn < self.turn:
            self.read += 1
        return None if self.is_paused or self.read == len(self.said) else self.said[self.read]

    def release(self) -> None:
        self.read += 1
