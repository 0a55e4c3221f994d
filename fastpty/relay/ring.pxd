"""A ring buffer that holds the latest output of a shared terminal, for any number of readers.

Each reader keeps its own position. A position counts all bytes since the first one, so it never wraps. The writer never
waits: a slow reader loses the bytes that are overwritten before it has read them.
"""

from libc.stdint cimport uint64_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memchr

cdef enum:
    REPLAY_LINE_MOST = 4096   # how far a replay looks for the beginning of a line

cdef struct Ring:
    uint8_t *data
    uint64_t size             # a power of two
    uint64_t end              # the position after the newest byte


cdef inline bint ring_open(Ring *ring, uint64_t least_bytes) noexcept nogil:
    """Allocates an empty ring of at least `least_bytes`. Returns False if there is no memory."""
    ring.size = 1
    while ring.size < least_bytes:
        ring.size *= 2
    ring.end = 0
    ring.data = <uint8_t *>malloc(ring.size)
    return ring.data != NULL


cdef inline uint64_t ring_oldest(const Ring *ring) noexcept nogil:
    """Returns the position of the oldest byte that the ring still holds."""
    return ring.end - ring.size if ring.end > ring.size else 0


cdef inline uint8_t *ring_room(const Ring *ring, size_t *size) noexcept nogil:
    """Returns where to write the next bytes, at most `size[0]`. The caller then adds their number to `ring.end`."""
    cdef uint64_t offset = ring.end & (ring.size - 1)
    size[0] = ring.size - offset
    return ring.data + offset


cdef inline const uint8_t *ring_piece(const Ring *ring, uint64_t position, size_t *size) noexcept nogil:
    """Returns the bytes at a position; `size[0]`: how many, up to the newest byte or to where the memory wraps."""
    cdef uint64_t offset = position & (ring.size - 1)
    size[0] = min(ring.end - position, ring.size - offset)
    return ring.data + offset


cdef inline uint64_t ring_replay_start(const Ring *ring, uint64_t most_bytes) noexcept nogil:
    """Where somebody begins to read who shall see at most `most_bytes` of what was before.

    Where older bytes are left out, that is at the beginning of a line if one begins near: half a character or half an
    escape sequence would show as rubbish.
    """
    cdef uint64_t start = ring.end - most_bytes if ring.end > most_bytes else 0
    cdef const uint8_t *piece
    cdef const uint8_t *newline
    cdef size_t size
    start = max(start, ring_oldest(ring))
    if start == 0 or start == ring.end:
        return start
    piece = ring_piece(ring, start, &size)
    newline = <const uint8_t *>memchr(piece, c'\n', min(size, <size_t>REPLAY_LINE_MOST))
    return start if newline == NULL else start + <uint64_t>(newline - piece) + 1
