"""What a web browser says first. A page can have it talk to any TCP port of its machine, and so to a shell.

And what a client says first that expects TLS: it would wait for an answer, and its bytes are no input for a program.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, strlen

from fastpty.relay.channel cimport Channel

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


cdef inline bint tls_hello_begins(const Channel *channel) noexcept nogil:
    """Whether what the channel holds begins with a TLS record that begins with a ClientHello (RFC 8446, 5.1 and 4)."""
    cdef const uint8_t *data
    if channel.buffer == NULL or channel.buffer.end - channel.buffer.start < 6:
        return False
    data = channel.buffer.data + channel.buffer.start
    return data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 1
