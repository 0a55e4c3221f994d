"""What a channel sends beside its bytes: the frames of the negotiated extension (fastpty/wire/extension.pxd).

Output is sent in OUTPUT frames, each with all bytes that the channel holds when it begins to write. Other frames wait
until such a frame is complete. The two output channels of exec share an outbox and take turns: after a frame of one,
the other one begins the next, if it has bytes to send. The memory for frames is part of this struct, so no frame is
lost for lack of memory.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from fastpty.system.check cimport check
from fastpty.wire.extension cimport (
    FRAME_PAYLOAD_MOST, NUMBER_CREDIT, NUMBER_PONG, NUMBER_STREAM_ENDED, put, put_header,
)
from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum:
    OUTBOX_BYTES = 1024
    PONG_MOST = 32
    FINAL_MOST = 512             # the last frame of a session
    OUTBOX_ROOM_LEAST = 80       # for a CREDIT, a PONG, three STREAM_ENDED and the header of an OUTPUT frame
    STREAMS = 3                  # standard input, output and error, by the numbers of STREAM_ENDED and STOP

cdef struct Outbox:
    uint8_t data[OUTBOX_BYTES]   # data[start:end] waits to be sent, before the bytes that the channel holds
    uint32_t start
    uint32_t end
    size_t frame_left            # unsent payload bytes of the present OUTPUT or STDERR frame; 0 = no frame is begun
    uint8_t frame_number         # of that frame: OUTPUT or STDERR
    bint is_reserved             # only frames of the number `reserved_for` may begin next
    uint8_t reserved_for
    uint8_t ended                # streams that have ended, a bit for each: STREAM_ENDED frames that wait
    bint holds_final             # the last frame must wait: the other channel still holds bytes
    uint32_t credit              # bytes that a CREDIT frame will grant; 0 = no such frame waits
    bint has_pong
    uint8_t pong[PONG_MOST]
    uint32_t pong_bytes
    uint8_t final[FINAL_MOST]    # the last frame, once it is known
    uint32_t final_bytes
    bint is_final                # the last frame is in `data`, or was sent: nothing may follow


cdef inline bint outbox_waits(const Outbox *outbox) noexcept nogil:
    """True if a frame waits to be sent."""
    return (outbox.start < outbox.end or outbox.credit > 0 or outbox.has_pong or outbox.ended != 0
            or (outbox.final_bytes > 0 and not outbox.is_final and not outbox.holds_final))


cdef inline bint outbox_admits(const Outbox *outbox, uint8_t number) noexcept nogil:
    """True if the channel that sends frames of this number may send now."""
    if outbox.frame_left > 0:
        return outbox.frame_number == number
    return not outbox.is_reserved or outbox.reserved_for == number


cdef inline void outbox_reserve(Outbox *outbox, uint8_t number) noexcept nogil:
    """Reserves the next frame for the channel that sends frames of this number."""
    outbox.is_reserved = True
    outbox.reserved_for = number


cdef inline void outbox_add(Outbox *outbox, const uint8_t *frame, size_t size) noexcept nogil:
    """Adds a complete frame. There is room for it: only a few frames, of a session's start and end, are added here."""
    check(outbox.end + size <= OUTBOX_BYTES, "the outbox has room for every frame")
    check(not outbox.is_final, "nothing is sent after a final frame")
    memcpy(outbox.data + outbox.end, frame, size)
    outbox.end += <uint32_t>size


cdef inline void outbox_empty(Outbox *outbox) noexcept nogil:
    """Discards all frames."""
    outbox.start = outbox.end = 0
    outbox.frame_left = 0
    outbox.credit = 0
    outbox.has_pong = False
    outbox.ended = 0
    outbox.is_reserved = False
    outbox.final_bytes = 0


cdef inline void outbox_close(Outbox *outbox) noexcept nogil:
    """Discards all frames. No other follows, not even a final one."""
    outbox_empty(outbox)
    outbox.is_final = True


cdef inline uint8_t *outbox_put_ended(Outbox *outbox, uint8_t *place) noexcept nogil:
    """Writes the STREAM_ENDED frames that wait, and returns the place after them."""
    cdef uint8_t stream
    for stream in range(STREAMS):
        if outbox.ended & (1 << stream):
            place = put(put_header(place, NUMBER_STREAM_ENDED, 1), stream, 1)
    outbox.ended = 0
    return place


cdef inline void outbox_prepare(Outbox *outbox, size_t held, uint8_t number) noexcept nogil:
    """Puts the frames that wait into `data`, and after them the header of a frame for the `held` bytes of the channel.

    If such a frame is begun already, all others wait until it is complete.
    """
    cdef uint8_t *place
    if outbox.frame_left > 0 or outbox.is_final or OUTBOX_BYTES - FINAL_MOST - outbox.end < OUTBOX_ROOM_LEAST:
        return
    place = outbox.data + outbox.end
    if outbox.credit > 0:
        place = put(put_header(place, NUMBER_CREDIT, 4), outbox.credit, 4)
        outbox.credit = 0
    if outbox.has_pong:
        place = put_header(place, NUMBER_PONG, outbox.pong_bytes)
        memcpy(place, outbox.pong, outbox.pong_bytes)
        place += outbox.pong_bytes
        outbox.has_pong = False
    if outbox.ended != 0:
        place = outbox_put_ended(outbox, place)
    if held > 0:
        check(held <= FRAME_PAYLOAD_MOST, "what an output channel holds fits into a frame")
        place = put_header(place, number, <uint32_t>held)
        outbox.frame_left = held
        outbox.frame_number = number
        outbox.is_reserved = False
    elif outbox.final_bytes > 0 and not outbox.holds_final:
        memcpy(place, outbox.final, outbox.final_bytes)
        place += outbox.final_bytes
        outbox.is_final = True
    outbox.end = <uint32_t>(place - outbox.data)


cdef inline void outbox_note_sent(Outbox *outbox, size_t sent) noexcept nogil:
    """Records that the first `sent` bytes of `data` were sent."""
    outbox.start += <uint32_t>sent
    if outbox.start == outbox.end:
        outbox.start = outbox.end = 0
