"""Recognises, by its first bytes, a client that speaks another protocol than its socket.

A web page can make a browser send requests to any TCP port of its machine, and so to a shell. A TLS client would wait
for an answer in TLS. Frames of the uwsgi protocol would be typed on the terminal, and typed text would be taken for
frames.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, strlen

from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES, MODIFIER2_COLUMNS, MODIFIER2_ROWS, MODIFIER2_STDIN

cdef enum:
    METHODS = 9

cdef enum Stray:
    STRAY_NONE
    STRAY_HTTP
    STRAY_TLS
    STRAY_RAW       # no frames, on a uwsgi socket
    STRAY_FRAMES    # frames, on a raw socket


cdef inline Stray stray_kind(const uint8_t *data, size_t held, bint framed, bint is_tcp) noexcept nogil:
    """Returns which wrong protocol a client's first bytes show. `framed`: the socket is for the uwsgi protocol.

    HTTP and TLS are recognised over TCP only: on a local raw socket, a person may type `GET `.
    """
    cdef Stray stray = stray_over_tcp(data, held) if is_tcp else STRAY_NONE
    if held == 0 or stray != STRAY_NONE:
        return stray
    if framed:
        return STRAY_RAW if data[0] != 0 else STRAY_NONE   # modifier1: 0 from every client of this protocol
    return STRAY_FRAMES if frames_begin(data, held) else STRAY_NONE


cdef inline Stray stray_over_tcp(const uint8_t *data, size_t held) noexcept nogil:
    """Returns whether a TCP client's first read is an HTTP request or a TLS hello."""
    if http_request_begins(data, held):
        return STRAY_HTTP
    return STRAY_TLS if tls_hello_begins(data, held) else STRAY_NONE


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


cdef inline bint frames_begin(const uint8_t *data, size_t held) noexcept nogil:
    """True if the bytes are frames as clients send them first: rows and columns, or one frame of input.

    Clients send rows and columns in one write or in two. A person does not type this: the first read would have to be
    NUL, a byte, NUL, `d`, and no more; or two headers; or a header with exactly as many bytes behind it as it says.
    """
    cdef size_t payload
    if held < FRAME_HEADER_BYTES or data[0] != 0:
        return False
    if data[3] == MODIFIER2_ROWS:
        if held < 2 * FRAME_HEADER_BYTES:
            return held == FRAME_HEADER_BYTES and data[2] == 0   # less than 256 rows
        return data[4] == 0 and data[7] == MODIFIER2_COLUMNS
    payload = data[1] | (<size_t>data[2] << 8)
    return data[3] == MODIFIER2_STDIN and payload > 0 and held == FRAME_HEADER_BYTES + payload
