"""The frames of the negotiated extension: the parser of what clients send, and writers of what the router sends.

docs/protocol.md, part B, specifies them. The parser works in place on a stream that may be split anywhere. Unlike in
the uwsgi protocol, frames from number 130 on carry a payload.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum:
    EXTENSION_VERSION = 1
    GOES_ON = 1                      # modifier1: the message goes on in the next frame of this number
    FRAME_PAYLOAD_MOST = 65535
    FIRST_WITH_PAYLOAD = 130         # frames of this number and higher ones, and 0, carry a payload

    # client → router, beside STDIN, signals, ROWS and COLUMNS
    NUMBER_START = 131
    NUMBER_END_INPUT = 137
    NUMBER_SIZE = 138
    NUMBER_PING = 140
    NUMBER_STOP = 145

    # router → client
    NUMBER_OUTPUT = 0
    NUMBER_STDERR = 149
    NUMBER_WELCOME = 151
    NUMBER_STARTED = 153
    NUMBER_CREDIT = 157
    NUMBER_PONG = 158
    NUMBER_STREAM_ENDED = 161
    NUMBER_STATUS = 163
    NUMBER_ERROR = 165

    NONCE_BYTES = 8
    NAME_BYTES = 27                  # "\0fastpty/1/" and 16 hexadecimal digits
    UNIQUE_BYTES = 33                # "\0" and 32 characters, in the names that the TLS process binds
    WELCOME_BYTES = 30
    STARTED_BYTES = 31
    STATUS_BYTES = 46                # 6 + 5 counts of 8 bytes
    ERROR_HEAD_BYTES = 5
    ERROR_TEXT_MOST = 400

    CAPABLE_TERMINAL = 1             # WELCOME: the router gives terminals,
    CAPABLE_STREAMS = 2              # and streams (exec),
    CAPABLE_COMMAND = 64             # and the client may choose command, environment and directory

cdef enum Stream:                    # in STREAM_ENDED and STOP
    STREAM_INPUT = 0
    STREAM_OUTPUT = 1
    STREAM_ERRORS = 2

cdef enum ErrorCode:
    ERROR_PROTOCOL = 1
    ERROR_UNSUPPORTED = 2
    ERROR_REFUSED = 3
    ERROR_LIMIT = 4
    ERROR_EXECUTE = 8
    ERROR_TIMEOUT = 9
    ERROR_INTERNAL = 10
    ERROR_STOPPED = 11

cdef enum ErrorPhase:
    ERROR_IN_GREETING = 1            # before START
    ERROR_IN_START = 2               # START was received, and no program runs yet
    ERROR_IN_SESSION = 3

cdef struct ExtensionParser:
    uint8_t header[FRAME_HEADER_BYTES]
    uint8_t header_bytes             # how many of them have arrived
    uint8_t number                   # of the frame whose payload is arriving
    bint goes_on                     # its message goes on in the next frame
    uint8_t message                  # the number of a message that goes on; 0 = none
    uint16_t payload_left

# A frame without payload, or a piece of the payload of a frame.
cdef struct ExtensionFrame:
    bint is_partial                  # the header is not complete yet; nothing else is set
    bint is_last                     # the message ends with this piece
    bint is_stray                    # the frame comes within a message of another number
    uint8_t number
    uint16_t value                   # the size field
    uint16_t size                    # of the piece
    const uint8_t *payload


cdef inline size_t extension_next(
    ExtensionParser *parser, const uint8_t *data, size_t size, ExtensionFrame *frame
) noexcept nogil:
    """Parses the next frame, or the next piece of one, and returns how many bytes of `data` it has used.

    The result is at least 1 unless `size` is 0. `parser` keeps what spans two calls.
    """
    cdef size_t used = 0
    frame.is_partial = True
    frame.is_stray = False
    frame.value = frame.size = 0
    frame.payload = data
    if parser.payload_left == 0:
        if parser.header_bytes == 0 and size >= FRAME_HEADER_BYTES:
            memcpy(parser.header, data, FRAME_HEADER_BYTES)
            parser.header_bytes = used = FRAME_HEADER_BYTES
        while parser.header_bytes < FRAME_HEADER_BYTES:
            if used == size:
                return used
            parser.header[parser.header_bytes] = data[used]
            parser.header_bytes += 1
            used += 1
        extension_open(parser, frame)
    frame.is_partial = False
    frame.number = parser.number
    frame.payload = data + used
    frame.size = <uint16_t>min(size - used, <size_t>parser.payload_left)
    parser.payload_left -= frame.size
    frame.is_last = parser.payload_left == 0 and not parser.goes_on
    return used + frame.size


cdef inline void extension_open(ExtensionParser *parser, ExtensionFrame *frame) noexcept nogil:
    """Decodes the complete header."""
    cdef uint8_t number = parser.header[3]
    cdef bint has_payload = number == 0 or number >= FIRST_WITH_PAYLOAD
    frame.value = parser.header[1] | (<uint16_t>parser.header[2] << 8)
    frame.is_stray = parser.message != 0 and parser.message != number
    parser.header_bytes = 0
    parser.number = number
    parser.goes_on = has_payload and parser.header[0] & GOES_ON
    parser.message = number if parser.goes_on else 0
    parser.payload_left = frame.value if has_payload else 0


cdef inline int hexadecimal(uint8_t digit) noexcept nogil:
    """Returns the value of a hexadecimal digit, or -1."""
    if c'0' <= digit <= c'9':
        return digit - c'0'
    if c'a' <= digit <= c'f':
        return digit - c'a' + 10
    return -1


cdef inline bint name_asks(const uint8_t *name, size_t size, uint8_t *nonce) noexcept nogil:
    """Returns True if the name that a client is bound to asks for the extension. Stores its nonce."""
    cdef uint8_t decoded[NONCE_BYTES]
    cdef int index, high, low
    if size != NAME_BYTES or memcmp(name, b"\0fastpty/1/", NAME_BYTES - 2 * NONCE_BYTES) != 0:
        return False
    name += NAME_BYTES - 2 * NONCE_BYTES
    for index in range(NONCE_BYTES):
        high, low = hexadecimal(name[2 * index]), hexadecimal(name[2 * index + 1])
        if high < 0 or low < 0:
            return False
        decoded[index] = <uint8_t>(high << 4 | low)
    memcpy(nonce, decoded, NONCE_BYTES)
    return True


cdef inline bint name_negotiated(const uint8_t *name, size_t size) noexcept nogil:
    """Returns True if the name that the TLS process has bound says that its client has negotiated the extension.

    Such names are made by name_behind_tls in fastpty/access/peer.py.
    """
    return size > UNIQUE_BYTES + 6 and memcmp(name + UNIQUE_BYTES, b" fpty ", 6) == 0


cdef inline uint8_t *put(uint8_t *place, uint64_t value, int size) noexcept nogil:
    """Writes an integer of `size` bytes, and returns the place after it."""
    cdef int index
    for index in range(size):
        place[index] = <uint8_t>(value >> (8 * index))
    return place + size


cdef inline uint16_t get_u16(const uint8_t *place) noexcept nogil:
    return place[0] | (<uint16_t>place[1] << 8)


cdef inline uint8_t *put_header(uint8_t *place, uint8_t number, uint32_t size) noexcept nogil:
    """Writes the header of a frame that is a complete message, and returns the place after it."""
    place = put(place, 0, 1)
    place = put(place, size, 2)
    return put(place, number, 1)


cdef inline uint8_t *put_welcome(
    uint8_t *place, const uint8_t *nonce, uint32_t capabilities, uint32_t window, uint32_t request_most
) noexcept nogil:
    """Writes a WELCOME frame of FRAME_HEADER_BYTES + WELCOME_BYTES bytes."""
    place = put_header(place, NUMBER_WELCOME, WELCOME_BYTES)
    memcpy(place, b"fastpty\n", 8)
    memcpy(place + 8, nonce, NONCE_BYTES)
    place = put(place + 8 + NONCE_BYTES, EXTENSION_VERSION, 2)
    place = put(place, capabilities, 4)
    place = put(place, window, 4)
    return put(place, request_most, 4)


cdef inline uint8_t *put_error(
    uint8_t *place, ErrorCode code, int error, ErrorPhase phase, const char *text, size_t size
) noexcept nogil:
    """Writes an ERROR frame of at most FRAME_HEADER_BYTES + ERROR_HEAD_BYTES + ERROR_TEXT_MOST bytes.

    The text is shortened if it is too long, and each control character becomes a question mark.
    """
    size = text_size(text, size)
    place = put_header(place, NUMBER_ERROR, ERROR_HEAD_BYTES + <uint32_t>size)
    place = put(place, code, 2)
    place = put(place, error, 2)
    place = put(place, phase, 1)
    put_text(place, text, size)
    return place + size


cdef inline size_t text_size(const char *text, size_t size) noexcept nogil:
    """Returns how many bytes of a UTF-8 text fit into an ERROR frame, without a cut character at the end."""
    if size <= ERROR_TEXT_MOST:
        return size
    size = ERROR_TEXT_MOST
    while size > 0 and (<uint8_t>text[size] & 0xC0) == 0x80:
        size -= 1
    return size


cdef inline void put_text(uint8_t *place, const char *text, size_t size) noexcept nogil:
    """Writes a UTF-8 text, with question marks for control characters (C0, DEL, C1): a terminal would obey these."""
    cdef const uint8_t *bytes = <const uint8_t *>text
    cdef size_t index
    for index in range(size):
        place[index] = bytes[index]
        if bytes[index] < 0x20 or bytes[index] == 0x7F:
            place[index] = c'?'
        elif 0x80 <= bytes[index] < 0xA0 and index > 0 and bytes[index - 1] == 0xC2:
            place[index - 1] = place[index] = c'?'
