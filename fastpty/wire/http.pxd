"""Recognises clients that speak HTTP or TLS to a plain TCP port, by their first bytes.

A web page can make a browser send requests to any TCP port of its machine, and so to a shell. A TLS client would wait
for an answer in TLS, and its bytes would be typed on the terminal.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, strlen

cdef enum:
    METHODS = 9


cdef inline bint http_request_begins(const uint8_t *data, size_t held) noexcept nogil:
    """True if the bytes begin with a method (RFC 9110, 9.1) and a space."""
    cdef const char *methods[METHODS]
    cdef size_t size
    cdef int index
    methods[:] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT ", b"TRACE "]
    for index in range(METHODS):
        size = strlen(methods[index])
        if held >= size and memcmp(data, methods[index], size) == 0:
            return True
    return False


cdef inline bint tls_hello_begins(const uint8_t *data, size_t held) noexcept nogil:
    """True if the bytes begin with a TLS record that begins with a ClientHello (RFC 8446, 5.1 and 4)."""
    return held >= 6 and data[0] == 22 and data[1] == 3 and data[2] <= 4 and data[5] == 1
