"""What a channel sends beside its bytes: the frames of the negotiated extension (fastpty/wire/extension.pxd).

Output goes out as OUTPUT frames, one for whatever the channel holds when it begins to write. Other frames wait until
such a frame is complete. Their room is reserved here, so a lack of memory never loses one.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from fastpty.system.check cimport check
from fastpty.wire.extension cimport (
    FRAME_PAYLOAD_MOST, NUMBER_CREDIT, NUMBER_OUTPUT, NUMBER_PONG, put, put_header,
)
from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum:
    OUTBOX_BYTES = 1024
    PONG_MOST = 32
    FINAL_MOST = 512             # the last frame of a session
    OUTBOX_ROOM_LEAST = 64       # for a CREDIT, a PONG and the header of an OUTPUT frame

cdef struct Outbox:
    uint8_t data[OUTBOX_BYTES]   # data[start:end] waits to be sent, before the bytes that the channel holds
    uint32_t start
    uint32_t end
    size_t frame_left            # bytes of the present OUTPUT frame that the channel holds; 0 = no frame is begun
    uint32_t credit              # of a CREDIT frame that waits; 0 = none does
    bint has_pong
    uint8_t pong[PONG_MOST]
    uint32_t pong_bytes
    uint8_t final[FINAL_MOST]    # the last frame, once it is known
    uint32_t final_bytes
    bint is_final                # the last frame is in `data`, or was sent: nothing may follow


cdef inline bint outbox_waits(const Outbox *outbox) noexcept nogil:
    """True if a frame waits to be sent."""
    return (outbox.start < outbox.end or outbox.credit > 0 or outbox.has_pong
            or (outbox.final_bytes > 0 and not outbox.is_final))


cdef inline void outbox_add(Outbox *outbox, const uint8_t *frame, size_t size) noexcept nogil:
    """Adds a whole frame. There is room: only the few frames of a session's start and end are added here."""
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
    outbox.final_bytes = 0


cdef inline void outbox_close(Outbox *outbox) noexcept nogil:
    """Discards all frames. No other follows, not even a final one."""
    outbox_empty(outbox)
    outbox.is_final = True


cdef inline void outbox_prepare(Outbox *outbox, size_t held) noexcept nogil:
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
    if held > 0:
        check(held <= FRAME_PAYLOAD_MOST, "what an output channel holds fits into a frame")
        place = put_header(place, NUMBER_OUTPUT, <uint32_t>held)
        outbox.frame_left = held
    elif outbox.final_bytes > 0:
        memcpy(place, outbox.final, outbox.final_bytes)
        place += outbox.final_bytes
        outbox.is_final = True
    outbox.end = <uint32_t>(place - outbox.data)


cdef inline void outbox_note_sent(Outbox *outbox, size_t sent) noexcept nogil:
    """Records that the first `sent` bytes of `data` were sent."""
    outbox.start += <uint32_t>sent
    if outbox.start == outbox.end:
        outbox.start = outbox.end = 0
