"""A ring buffer that holds the latest output of a shared terminal, for any number of readers.

Each reader keeps its own position. A position counts all bytes since the first one, so it never wraps. The writer never
waits: a slow reader loses the bytes that are overwritten before it has read them.
"""

from libc.stdint cimport uint64_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memchr

from fastpty.system.linux cimport memrchr

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


cdef inline uint8_t ring_byte(const Ring *ring, uint64_t position) noexcept nogil:
    return ring.data[position & (ring.size - 1)]


cdef inline uint64_t ring_find(const Ring *ring, uint8_t byte, uint64_t start, uint64_t end) noexcept nogil:
    """Returns the position of the first such byte in [start, end), or `end` if there is none."""
    cdef const uint8_t *piece
    cdef const uint8_t *found
    cdef size_t size
    while start < end:
        piece = ring_piece(ring, start, &size)
        size = min(size, <size_t>(end - start))
        found = <const uint8_t *>memchr(piece, byte, size)
        if found != NULL:
            return start + <uint64_t>(found - piece)
        start += size
    return end


cdef inline uint64_t ring_find_last(const Ring *ring, uint8_t byte, uint64_t start, uint64_t end) noexcept nogil:
    """Returns the position of the last such byte in [start, end), or `end` if there is none."""
    cdef uint64_t position = end
    cdef const uint8_t *found
    cdef size_t size
    while position > start:
        # The bytes before the position, back to where the memory wraps.
        size = min(position - start, ((position - 1) & (ring.size - 1)) + 1)
        found = <const uint8_t *>memrchr(ring.data + ((position - size) & (ring.size - 1)), byte, size)
        if found != NULL:
            return position - size + <uint64_t>(found - (ring.data + ((position - size) & (ring.size - 1))))
        position -= size
    return end
