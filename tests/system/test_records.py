"""The stand-ins of fastpty/system/records.py behave as the originals that type checkers see."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fastpty.system import records

ORIGINALS = SimpleNamespace(
    dataclass=dataclasses.dataclass,
    field=dataclasses.field,
    replace=dataclasses.replace,
    NamedTuple=typing.NamedTuple,
    Protocol=typing.Protocol,
)
Library = ModuleType | SimpleNamespace


@records.dataclass(frozen=True)
class Kept:
    """A record that can be pickled."""

    name: str
    numbers: tuple[int, ...] = ()


class KeptTuple(records.NamedTuple):
    """A named tuple that can be pickled."""

    first: int
    second: str = "two"


def record(library: Library, **options: bool) -> type:
    @library.dataclass(**options)
    class Example:
        """An example."""

        name: str
        size: int = 7
        found: list[int] = library.field(default_factory=list)
        ignored: object = library.field(compare=False, default_factory=object)

        @property
        def text(self) -> str:
            return f"{self.name} {self.size}"

    return Example


def named_tuple(library: Library) -> Any:
    class Example(library.NamedTuple):
        """An example."""

        first: int
        second: str = "two"

        @property
        def text(self) -> str:
            return f"{self.first} {self.second}"

    return Example


def outcome(work: Callable[[], object]) -> object:
    """What `work` returns, or the kind of exception that it raises."""
    try:
        return work()
    except (AttributeError, TypeError) as error:
        return next(kind for kind in (AttributeError, TypeError) if isinstance(error, kind))


OF_RECORDS: dict[str, Callable[[Any, Library], object]] = {
    "positions": lambda kind, _: repr(kind("a", 1, [2], 3)),
    "names": lambda kind, _: repr(kind(size=1, ignored=0, name="a")),
    "a missing value": lambda kind, _: kind(size=1),
    "too many values": lambda kind, _: kind("a", 1, [], 2, 3),
    "an unknown name": lambda kind, _: kind("a", other=1),
    "a value given twice": lambda kind, _: kind("a", name="b"),
    "a default of each record's own": lambda kind, _: kind("a").found is kind("a").found,
    "the default of the class": lambda kind, _: (kind.size, hasattr(kind, "name"), hasattr(kind, "found")),
    "equal records": lambda kind, _: kind("a") == kind("a"),
    "different records": lambda kind, _: kind("a") == kind("b"),
    "a record and a tuple": lambda kind, _: kind("a", 1, [], 2) == ("a", 1, [], 2),
    "a record of a subclass": lambda kind, _: kind("a") == type("Sub", (kind,), {})("a"),
    "equal hashes": lambda kind, _: len({kind("a", found=()), kind("a", found=())}),
    "the hash of a list": lambda kind, _: isinstance(hash(kind("a")), int),
    "setting an attribute": lambda kind, _: setattr(kind("a"), "size", 1),
    "setting another attribute": lambda kind, _: setattr(kind("a"), "other", 1),
    "deleting an attribute": lambda kind, _: delattr(kind("a"), "size"),
    "replacing": lambda kind, library: repr(library.replace(kind("a", 1, [2], 3), size=4, ignored=5)),
    "replacing what is unknown": lambda kind, library: library.replace(kind("a"), other=1),
    "methods and text": lambda kind, _: (kind("a").text, kind.__doc__, kind.__name__),
}


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"eq": False}, {"frozen": True, "eq": False}])
@pytest.mark.parametrize("name", OF_RECORDS)
def test_a_record_behaves_as_a_dataclass(name: str, options: dict[str, bool]) -> None:
    own, original = (
        outcome(lambda library=library: OF_RECORDS[name](record(library, **options), library))
        for library in (records, ORIGINALS)
    )
    assert own == original


OF_TUPLES: dict[str, Callable[[Any], object]] = {
    "positions": lambda kind: repr(kind(1, "b")),
    "names": lambda kind: repr(kind(second="b", first=1)),
    "a missing value": lambda kind: kind(second="b"),
    "too many values": lambda kind: kind(1, "b", 3),
    "a tuple": lambda kind: (*kind(1),),
    "equality": lambda kind: kind(1) == (1, "two"),
    "setting an attribute": lambda kind: setattr(kind(1), "first", 2),
    "replacing": lambda kind: repr(kind(1)._replace(first=2)),
    "fields": lambda kind: (kind._fields, kind._field_defaults),
    "methods and text": lambda kind: (kind(1).text, kind.__doc__, kind.__name__, kind.__module__, kind.__qualname__),
}


@pytest.mark.parametrize("name", OF_TUPLES)
def test_a_named_tuple_behaves_as_that_of_typing(name: str) -> None:
    own, original = (
        outcome(lambda library=library: OF_TUPLES[name](named_tuple(library))) for library in (records, ORIGINALS)
    )
    assert own == original


@pytest.mark.parametrize("kept", [Kept("a", (1, 2)), KeptTuple(1, "b")])
def test_records_can_be_pickled(kept: object) -> None:
    assert pickle.loads(pickle.dumps(kept)) == kept


def test_the_stand_ins_have_the_names_of_the_originals() -> None:
    assert sorted(records.__all__) == sorted(vars(ORIGINALS))


@pytest.mark.parametrize("name", ["dataclass", "field", "replace"])
def test_the_stand_ins_take_no_argument_that_the_originals_lack(name: str) -> None:
    own, original = (inspect.signature(getattr(library, name)).parameters for library in (records, dataclasses))
    named = {each for each, parameter in own.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    assert named <= original.keys()
