"""The symbolic links of a stream. They are kept until everything else is written, and created only if harmless."""

from __future__ import annotations

from fastpty.errors import CopyError

LINKS_MOST = 100_000
TEXT_MOST = 16 << 20


class Links:
    """Links in the order in which they came, with a bound on how much the other side can make this side keep.

    floor: how many names at the beginning of a link's path it must stay below: 1 if they are all in one new directory
    whose neighbours are none of the copy's business.
    """

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._targets: dict[bytes, bytes] = {}
        self._text_bytes = 0

    def add(self, path: bytes, target: bytes) -> None:
        """Keeps a link. Raises CopyError if there are too many."""
        self.count(path + target)
        self._targets[path] = target
        if len(self._targets) > LINKS_MOST:
            raise CopyError(f"the copy has more than {LINKS_MOST} links: copy its parts one after the other")

    def are_on(self, path: bytes) -> bool:
        """Returns True if a link has this path, or one that leads to it."""
        ends = [index for index, byte in enumerate(path) if byte == ord("/")]
        return any(path[:end] in self._targets for end in (*ends, len(path)))

    def count(self, text: bytes) -> None:
        """Counts text that is kept because of a link. Raises CopyError if it is too much."""
        self._text_bytes += len(text)
        if self._text_bytes > TEXT_MOST:
            raise CopyError("the copy has too many links: copy its parts one after the other")

    def items(self) -> list[tuple[bytes, bytes, str]]:
        """Returns path and text of each link, and why it must not be created: an empty text if it may."""
        return [(path, target, self._objection(path, target)) for path, target in self._targets.items()]

    def _objection(self, path: bytes, target: bytes) -> str:
        """Returns why a link could lead out of the target, whatever other links are there; an empty text if it cannot.

        `..` is allowed only at the beginning, where it goes up through the directories that contain the link. After a
        name, it would go up from the place that the name leads to, if the name is a link.
        """
        names = [name for name in target.split(b"/") if name not in (b"", b".")]
        ups = 0
        while names[ups : ups + 1] == [b".."]:
            ups += 1
        way = path.split(b"/")[:-1]
        if target.startswith(b"/") or b".." in names[ups:] or not target or ups > len(way) - self._floor:
            return "it could lead out of the target"
        way = way[: len(way) - ups]
        for name in names[ups:-1]:
            way.append(name)
            if b"/".join(way) in self._targets:
                return "it leads through another link"
        return ""
