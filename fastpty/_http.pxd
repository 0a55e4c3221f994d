"""What a web browser says first. A page can have it talk to any TCP port of its machine, and so to a shell."""

from libc.string cimport memcmp, strlen

from fastpty._channel cimport Channel

cdef enum:
    METHODS = 9


cdef inline bint http_request_begins(const Channel *channel) noexcept nogil:
    """Whether what the channel holds begins with a method (RFC 9110, 9.1) and a blank."""
    cdef const char *methods[METHODS]
    cdef size_t held, size
    cdef int index
    methods[:] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE "]
    if channel.buffer == NULL:
        return False
    held = channel.buffer.end - channel.buffer.start
    for index in range(METHODS):
        size = strlen(methods[index])
        if held >= size and memcmp(channel.buffer.data + channel.buffer.start, methods[index], size) == 0:
            return True
    return False
