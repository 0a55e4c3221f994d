"""Imports between the packages of fastpty/ run in one direction, without circles."""

from __future__ import annotations

from tools import structure


def test_every_room_has_a_place_in_the_order() -> None:
    rooms = {structure.room_of(name) for name in structure.files().values()} - {""}
    assert sorted(rooms) == sorted(structure.ORDER)


def test_imports_between_rooms_run_downwards_only() -> None:
    place = {room: index for index, room in enumerate(structure.ORDER)}
    upwards = [
        (room, other) for room, others in structure.arrows().items() for other in others if place[other] < place[room]
    ]
    assert upwards == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert structure.circles() == []


def test_the_picture_shows_the_imports_as_they_are() -> None:
    assert structure.PICTURE.read_text() == structure.picture(), "run: python tools/structure.py"
