"""TwiML as a tree: XML without declarations or entities, of bounded size and depth. What its verbs mean is ai_bridge/twiml's."""

from typing import NamedTuple
from xml.parsers import expat

MOST_BYTES = 65_536
MOST_ELEMENTS, DEEPEST = 500, 6


class Unreadable(ValueError):
    """The text says what is wrong, for whoever wrote the document."""


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str]
    children: list["Element"]
    texts: list[str]
    """Those before, between and behind the children."""

    @property
    def text(self) -> str:
        """All of it, those of children too, with single spaces."""
        return " ".join(" ".join([*self.texts, *(child.text for child in self.children)]).split())


def parse(document: bytes | str) -> list[Element]:
    """The verbs of a <Response>, in order. Raises Unreadable."""
    octets = document.encode() if isinstance(document, str) else document
    if len(octets) > MOST_BYTES:
        raise Unreadable(f"the TwiML has {len(octets)} bytes: {MOST_BYTES} are the most")
    root = _Reader().read(octets)
    if root.tag != "Response":
        raise Unreadable(f"the TwiML begins with <{root.tag[:40]}>, not with <Response>")
    if "".join(root.texts).strip():
        raise Unreadable("the TwiML has text between its verbs: put it into <Say>")
    return root.children


class _Reader:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=None)
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._add
        self._open: list[Element] = []
        self._root: Element | None = None
        self._elements = 0

    def read(self, octets: bytes) -> Element:
        try:
            self._parser.Parse(octets, True)
        except expat.ExpatError as failure:
            raise Unreadable(f"the TwiML is not XML: {failure}") from None
        assert self._root is not None
        return self._root

    def _refuse(self, *_: object) -> None:
        raise Unreadable("the TwiML has a DOCTYPE: entities and doctypes have no place in it")

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS or len(self._open) >= DEEPEST:
            raise Unreadable(f"the TwiML has more than {MOST_ELEMENTS} elements, or they are nested more than {DEEPEST} deep")
        element = Element(tag, attributes, [], [])
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, tag: str) -> None:
        self._open.pop()

    def _add(self, text: str) -> None:
        if self._open:
            self._open[-1].texts.append(text)
