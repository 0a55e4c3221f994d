"""Small stand-ins for `dataclasses` and two classes of `typing`, which would cost a router with one worker 2.5 MB.

Type checkers see the originals. tests/system/test_records.py compares the two. Records do not inherit fields.
"""

from __future__ import annotations

from collections import namedtuple

__all__ = ["NamedTuple", "Protocol", "dataclass", "field", "replace"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field, replace
    from typing import Any, NamedTuple, Protocol
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True):
        """Adds a constructor, comparisons and a repr for the annotated attributes to a class."""
        return _complete(cls, frozen, eq) if cls is not None else lambda cls: _complete(cls, frozen, eq)

    def field(*, default_factory=None, compare=True):
        """Describes an attribute: what makes its default, and whether comparisons include it."""
        return _Field(default_factory, compare)

    def replace(record, /, **changes):
        """Returns a copy of `record` with other values in these fields."""
        return type(record)(**{name: getattr(record, name) for name in record.__dataclass_fields__} | changes)

    class Protocol:
        """The base of a class that only describes the interface of others."""

    class _NamedTuples(type):
        """Makes a class body a named tuple: its fields, defaults and methods."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            names = body["__annotations__"]
            defaults = [body[each] for each in names if each in body]
            made = namedtuple(name, names, defaults=defaults, module=body["__module__"])
            for each in body.keys() - names - {"__annotations__", "__classcell__"}:
                setattr(made, each, body[each])
            return made

    class NamedTuple(metaclass=_NamedTuples):
        """The base of a class whose body lists the fields of a tuple."""


class _Field:
    def __init__(self, factory: Callable[[], Any] | None = None, compare: bool = True) -> None:
        self.factory = factory
        self.compare = compare


def _complete(cls: Any, frozen: bool, eq: bool) -> Any:
    """Adds the methods. frozen: attributes cannot be set. eq: records of the same class with equal fields are equal."""
    cls.__dataclass_fields__ = {}
    for name in cls.__annotations__:
        given = cls.__dict__.get(name)
        cls.__dataclass_fields__[name] = given if isinstance(given, _Field) else _Field()
        if isinstance(given, _Field):
            delattr(cls, name)
    cls.__init__, cls.__repr__ = _init, _repr
    if eq:
        cls.__eq__, cls.__hash__ = _eq, _hash if frozen else None
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse
    return cls


def _init(self: Any, *positional: Any, **named: Any) -> None:
    fields: dict[str, _Field] = self.__dataclass_fields__
    kind = type(self)
    given = dict(zip(fields, positional, strict=False))
    if len(positional) > len(fields) or not named.keys() <= fields.keys() - given.keys():
        raise TypeError(f"{kind.__name__} has no such field, or one is given twice: {', '.join(named)}")
    given |= named
    for name, described in fields.items():
        if name in given:
            value = given[name]
        elif described.factory is not None:
            value = described.factory()
        elif hasattr(kind, name):
            value = getattr(kind, name)
        else:
            raise TypeError(f"{kind.__name__} lacks {name}")
        object.__setattr__(self, name, value)


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({shown})"


def _compared(record: Any) -> tuple[Any, ...]:
    fields: dict[str, _Field] = record.__dataclass_fields__
    return tuple(getattr(record, name) for name, described in fields.items() if described.compare)


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")
