"""A broadcast ring: the last bytes of an output, for any number of readers that each keep a position of their own.

Positions count bytes from the very first and never wrap. The writer waits for nobody: what a reader has not read when
its place is written again is lost to it, and to nobody else.
"""

from libc.stdint cimport uint64_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memchr

cdef enum:
    REPLAY_LINE_MOST = 4096   # how far a replay looks for the beginning of a line

cdef struct Ring:
    uint8_t *data
    uint64_t size             # a power of two
    uint64_t end              # the position behind the last byte


cdef inline bint ring_open(Ring *ring, uint64_t least_bytes) noexcept nogil:
    """Makes an empty ring for so many bytes or more; False if memory is short."""
    ring.size = 1
    while ring.size < least_bytes:
        ring.size *= 2
    ring.end = 0
    ring.data = <uint8_t *>malloc(ring.size)
    return ring.data != NULL


cdef inline uint64_t ring_oldest(const Ring *ring) noexcept nogil:
    """The position of the oldest byte that is still there."""
    return ring.end - ring.size if ring.end > ring.size else 0


cdef inline uint8_t *ring_room(const Ring *ring, size_t *size) noexcept nogil:
    """Where the next bytes are to be put, at most `size` of them; `ring.end` is then to be moved on by the caller."""
    cdef uint64_t offset = ring.end & (ring.size - 1)
    size[0] = ring.size - offset
    return ring.data + offset


cdef inline const uint8_t *ring_piece(const Ring *ring, uint64_t position, size_t *size) noexcept nogil:
    """The bytes from a position on, `size` of them: up to the end, or to the place where the ring wraps."""
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
