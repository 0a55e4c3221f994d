"""The memory for START frames, and its limits, until the handler is asked for the program.

A client may send a part of a START and then nothing. So the memory for all STARTs is limited, and one owner, such as a
user, may use at most a quarter of it. When a limit is reached, the session with the oldest unfinished START of the
owner that uses most memory ends. So clients that send START at once are hardly affected by those that do not. The first
REQUEST_FREE bytes of each START are not counted, because most need no more.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport free, realloc

from fastpty.relay.loop cimport REQUEST_SHARES, Loop
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.state cimport Extension, RequestShare, Session, Task
from fastpty.system.check cimport check
from fastpty.system.linux cimport close

cdef enum:
    REQUEST_LEAST = 1024                          # bytes; the least memory for a START
    REQUEST_FREE = 8192                           # bytes of each START that are not counted
    REQUESTS_MOST = REQUEST_SHARES * REQUEST_FREE  # counted bytes of all clients: 4 MiB
    REQUESTS_OF_OWNER_MOST = REQUESTS_MOST / 4


cdef inline int64_t request_counted(uint32_t room) noexcept nogil:
    """Returns how many of the `room` bytes for a START are counted: none, or at least REQUEST_FREE."""
    return room - REQUEST_FREE if room > REQUEST_FREE else 0


cdef inline uint32_t request_room_for(const Extension *extension, uint32_t bytes) noexcept nogil:
    """Returns how many bytes of memory a START of `bytes` bytes gets: a power of two."""
    cdef uint32_t room = max(extension.request_room, <uint32_t>REQUEST_LEAST)
    while room < bytes:
        room *= 2
    return room


cdef inline RequestShare *request_share(Loop *loop, const Extension *extension) noexcept nogil:
    """Returns the entry of the START's owner, or a free one. There are enough for all owners with counted bytes."""
    cdef RequestShare *found = NULL
    cdef int index
    if extension.share != NULL:
        return extension.share
    for index in range(REQUEST_SHARES):
        if loop.request_shares[index].bytes == 0:
            found = &loop.request_shares[index]
        elif loop.request_shares[index].owner == extension.owner:
            return &loop.request_shares[index]
    return found


cdef inline bint request_owner_has_room(Loop *loop, const Extension *extension, uint32_t room) noexcept nogil:
    """Returns True if a START may have `room` bytes within the limit of its owner."""
    cdef const RequestShare *share
    cdef int64_t more = request_counted(room) - request_counted(extension.request_room)
    if more == 0:
        return True   # before the search: a START may come in many small pieces
    share = request_share(loop, extension)
    return share == NULL or share.bytes + more <= REQUESTS_OF_OWNER_MOST


cdef inline bint request_has_room(Loop *loop, const Extension *extension, uint32_t room) noexcept nogil:
    """Returns True if a START may have `room` bytes within all limits."""
    cdef int64_t more = request_counted(room) - request_counted(extension.request_room)
    return request_owner_has_room(loop, extension, room) and (
        more == 0 or loop.request_bytes + more <= REQUESTS_MOST)


cdef inline Session *request_oldest(Loop *loop, const Extension *extension, uint32_t room) noexcept nogil:
    """Returns the session to end so that a START can get `room` bytes; NULL if there is none.

    It has the oldest unfinished START of the same owner if the owner's limit is reached, else of the owner that uses
    most.
    """
    cdef const RequestShare *share = request_share(loop, extension)
    cdef bint is_of_same = not request_owner_has_room(loop, extension, room)
    cdef Task *task = loop.unfinished.head
    cdef Session *found = NULL
    while task != NULL:
        if is_of_same and task.session.extension.share == share:
            return task.session
        if not is_of_same and (found == NULL or task.session.extension.share.bytes > found.extension.share.bytes):
            found = task.session
        task = task.next
    return found


cdef inline void request_count(Loop *loop, Extension *extension, uint32_t room) noexcept nogil:
    """Records that a START now has `room` bytes of memory."""
    cdef int64_t more = request_counted(room) - request_counted(extension.request_room)
    extension.request_room = room
    if more == 0:
        return
    extension.share = request_share(loop, extension)
    check(extension.share != NULL, "every owner has an entry")
    extension.share.owner = extension.owner
    extension.share.bytes += more
    loop.request_bytes += more
    check(extension.share.bytes >= 0 and loop.request_bytes >= 0, "no more memory is given back than was counted")
    if room == 0:
        extension.share = NULL
    elif extension.start.queue == NULL:
        queue_push(&loop.unfinished, &extension.start)


cdef inline bint request_set_room(Loop *loop, Extension *extension, uint32_t room) noexcept nogil:
    """Gives a START `room` bytes of memory. Returns False if there is no memory."""
    cdef uint8_t *wider
    if room == extension.request_room:
        return True
    wider = <uint8_t *>realloc(extension.request, <size_t>room)
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
    """Frees START, its place in the queue, and the report pipe. NULL: the client does not speak the extension."""
    if extension != NULL:
        request_free(loop, extension)
        queue_remove(&extension.start)
        report_close(extension)
