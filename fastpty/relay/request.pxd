"""START until the handler is asked for the program: the memory for it, the limits of that, and the wait for a turn.

A client may send a part of a START and then nothing. So the memory for all STARTs is limited, and one user gets only a
quarter of it. The first REQUEST_FIRST bytes of each START are not counted: most need no more, and these always start.
"""

from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport free, realloc

from fastpty.relay.loop cimport REQUEST_SHARES, Loop, RequestShare
from fastpty.relay.queue cimport queue_remove
from fastpty.relay.state cimport Extension
from fastpty.system.check cimport check
from fastpty.system.linux cimport close

cdef enum:
    REQUEST_FIRST = 1024                          # bytes; the least memory for a START
    REQUESTS_MOST = 4194304                       # counted bytes of all clients
    REQUESTS_OF_OWNER_MOST = REQUESTS_MOST / 4    # of one user; over TCP, of one listening socket


cdef inline int64_t request_counted(uint32_t room) noexcept nogil:
    """Returns how many bytes of this memory for a START are counted."""
    return room - REQUEST_FIRST if room > REQUEST_FIRST else 0


cdef inline RequestShare *request_share(Loop *loop, int64_t owner) noexcept nogil:
    """Returns the owner's entry of the table, or a free one. NULL if there is none."""
    cdef RequestShare *found = NULL
    cdef int index
    for index in range(REQUEST_SHARES):
        if loop.request_shares[index].bytes == 0:
            found = &loop.request_shares[index]
        elif loop.request_shares[index].owner == owner:
            return &loop.request_shares[index]
    return found


cdef inline bint request_may_count(Loop *loop, const Extension *extension, uint32_t room) noexcept nogil:
    """Returns True if no limit forbids a START to have this memory."""
    cdef const RequestShare *share = request_share(loop, extension.owner)
    cdef int64_t more = request_counted(room) - request_counted(extension.request_room)
    return more == 0 or (share != NULL and share.bytes + more <= REQUESTS_OF_OWNER_MOST
                         and loop.request_bytes + more <= REQUESTS_MOST)


cdef inline void request_count(Loop *loop, Extension *extension, uint32_t room) noexcept nogil:
    """Counts the memory that a START has now."""
    cdef RequestShare *share = request_share(loop, extension.owner)
    cdef int64_t more = request_counted(room) - request_counted(extension.request_room)
    extension.request_room = room
    if more == 0:
        return
    share.owner = extension.owner
    share.bytes += more
    loop.request_bytes += more
    check(share.bytes >= 0 and loop.request_bytes >= 0, "no more memory for START is given back than was counted")


cdef inline bint request_make_room(Loop *loop, Extension *extension, uint32_t bytes) noexcept nogil:
    """Makes room for a START of so many bytes. Returns False if a limit is reached, or there is no memory."""
    cdef uint32_t room = max(extension.request_room, <uint32_t>REQUEST_FIRST)
    cdef uint8_t *wider
    while room < bytes:
        room *= 2
    if room == extension.request_room:
        return True
    if not request_may_count(loop, extension, room):
        return False
    wider = <uint8_t *>realloc(extension.request, room)
    if wider == NULL:
        return False
    extension.request = wider
    request_count(loop, extension, room)
    return True


cdef inline void request_free(Loop *loop, Extension *extension) noexcept nogil:
    """Frees the memory of START."""
    request_count(loop, extension, 0)
    free(extension.request)
    extension.request = NULL
    extension.request_bytes = 0


cdef inline void report_close(Extension *extension) noexcept nogil:
    if extension.report_fd >= 0:
        close(extension.report_fd)
        extension.report_fd = -1


cdef inline void request_abandon(Loop *loop, Extension *extension) noexcept nogil:
    """Frees what a session holds until its program runs. NULL: the client does not speak the extension."""
    if extension != NULL:
        queue_remove(&extension.start)
        request_free(loop, extension)
        report_close(extension)
