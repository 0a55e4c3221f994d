"""Where a new viewer begins to read the output of a shared terminal.

It gets the latest output, from the beginning of a line if there is one nearby. It never begins in the middle of a UTF-8
character or an escape sequence, because its terminal would show the rest as text. The bytes before a position show
whether it is in one: an ESC always begins a sequence, and cancels an unfinished one (ECMA-48, and DEC's terminals).
"""

from libc.stdint cimport uint64_t, uint8_t

from fastpty.relay.ring cimport Ring, ring_byte, ring_find, ring_find_last, ring_oldest

cdef enum:
    LINE_MOST = 4096          # how far it looks ahead for the beginning of a line
    LOOK_BACK_MOST = 1048576  # how far it looks back for an ESC: a sequence can hold an image
    BELL = 0x07
    CANCEL = 0x18
    SUBSTITUTE = 0x1A
    ESCAPE = 0x1B


cdef inline uint64_t replay_start(const Ring *ring, uint64_t most_bytes) noexcept nogil:
    """Returns the position from which a new viewer reads at most `most_bytes` of the earlier output.

    The viewer may read more if the program has written only a part of a character or a sequence.
    """
    cdef uint64_t oldest = ring_oldest(ring)
    cdef uint64_t start = max(oldest, ring.end - most_bytes if ring.end > most_bytes else 0)
    cdef uint64_t most = min(ring.end, start + LINE_MOST)
    cdef uint64_t found
    if start == 0:
        return start
    found = ring_find(ring, c'\n', start, most)
    if found < most:
        return replay_boundary(ring, found + 1)
    if start == oldest:
        # No earlier byte shows whether this is in a sequence. An ESC certainly begins one.
        found = ring_find(ring, ESCAPE, start, most)
        return found if found < most else start
    return replay_boundary(ring, start)


cdef inline uint64_t replay_boundary(const Ring *ring, uint64_t position) noexcept nogil:
    """Returns the first position, from this one on, that is not in the middle of a sequence or character.

    If this position is in the middle of one that is not complete yet, returns its beginning.
    """
    cdef uint64_t oldest = ring_oldest(ring)
    cdef uint64_t least = max(oldest, position - LOOK_BACK_MOST if position > LOOK_BACK_MOST else 0)
    cdef uint64_t begin = ring_find_last(ring, ESCAPE, least, position)
    cdef uint64_t end = replay_sequence_end(ring, begin) if begin < position else 0
    if end <= position:
        begin = replay_character_begin(ring, position)
        end = begin + replay_character_bytes(ring_byte(ring, begin)) if begin < position else 0
    if end <= position:
        return position
    return end if end <= ring.end else begin


cdef inline uint64_t replay_sequence_end(const Ring *ring, uint64_t begin) noexcept nogil:
    """Returns the position after the sequence whose ESC is at `begin`; beyond the ring's end if it is not complete."""
    cdef uint64_t position = begin + 1
    cdef uint8_t byte = ring_byte(ring, position) if position < ring.end else 0
    cdef bint is_string = byte in (c'P', c']', c'_', c'^', c'X')   # DCS, OSC, APC, PM, SOS
    cdef bint is_control = byte == c'['                            # CSI
    if is_string or is_control:
        position += 1
    while position < ring.end:
        byte = ring_byte(ring, position)
        if byte == CANCEL or byte == SUBSTITUTE or (is_string and byte == BELL):
            return position + 1
        if byte == ESCAPE:
            # ESC and a backslash end the string; otherwise another sequence begins.
            return position + 2 if is_string and (
                position + 1 == ring.end or ring_byte(ring, position + 1) == c'\\') else position
        if not is_string and byte >= (0x40 if is_control else 0x30):
            return position + 1
        position += 1
    return ring.end + 1


cdef inline uint64_t replay_character_begin(const Ring *ring, uint64_t position) noexcept nogil:
    """Returns the beginning of the UTF-8 character that this position is in the middle of, or else the position."""
    cdef uint64_t begin = position
    cdef uint64_t least = max(ring_oldest(ring), position - 3 if position > 3 else 0)
    while begin > least:
        begin -= 1
        if ring_byte(ring, begin) & 0xC0 != 0x80:
            return begin if begin + replay_character_bytes(ring_byte(ring, begin)) > position else position
    return position


cdef inline uint64_t replay_character_bytes(uint8_t first) noexcept nogil:
    """Returns how many bytes a UTF-8 character has that begins with this byte; 1 if none does."""
    if first >= 0xF0 and first < 0xF8:
        return 4
    if first >= 0xE0:
        return 3 if first < 0xF0 else 1
    return 2 if first >= 0xC0 else 1
