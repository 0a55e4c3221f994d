"""A channel: one direction of a session, from a source descriptor to a target descriptor.

    fill    OPEN                read; end of file → DRAINING
    flush   holds bytes         write; EAGAIN stops; a hard error → TARGET_FAILED
            DRAINING and empty  the owner half-closes the target → SHUT

An idle channel holds no memory. It borrows a buffer or a pipe from the pool, reads or splices into it, and returns it
as soon as all its bytes are written. A stream may gather bytes for some turns before it writes. Otherwise a channel
holds bytes only if the target refused them, and then it does not read. So a channel never holds more than one buffer:
the kernel's buffers fill up, and the source has to wait. If there is no memory, the channel tries again later.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastpty.relay.errands cimport Errands, errands_read
from fastpty.relay.outbox cimport (
    Outbox, outbox_admits, outbox_empty, outbox_note_sent, outbox_prepare, outbox_waits,
)
from fastpty.relay.pool cimport Buffer, Pipe, Pool, buffer_lend, buffer_return, memory_is_short, pipe_lend, pipe_return
from fastpty.system.check cimport check
from fastpty.system.linux cimport (
    MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, SPLICE_F_MOVE, SPLICE_F_NONBLOCK, c_splice, iovec, read, send, write, writev,
)

cdef enum:
    FLUSH_ALL = 0xFFFFFFFF
    UNKNOWN_TEXT = 0xFF

cdef enum ChannelState:
    CHANNEL_OPEN
    CHANNEL_DRAINING
    CHANNEL_SHUT
    CHANNEL_SOURCE_FAILED
    CHANNEL_TARGET_FAILED

cdef struct Channel:
    ChannelState state
    int source                # descriptors; -1 when closed
    int target
    bint readable             # the source may have bytes; false from when a read found none until epoll reports some
    bint writable             # the target may have room; false from when a write was refused until epoll reports room
    bint hung_up              # the source has hung up: epoll does not report it again, so read until its end
    bint short_read_means_dry      # a read that returns less than asked for has emptied the source
    bint short_splice_means_dry
    uint32_t splice_bytes     # the most that one splice(2) takes from the source
    uint32_t flush_bytes      # the most that one flush writes to the target
    bint no_memory            # the last call failed for lack of memory, here or in the kernel: try again later
    bint gathering            # it delays its write, since more bytes may follow at once
    int64_t allowance         # how many bytes it may still read; -1 = no limit
    Buffer *buffer
    Pipe *pipe
    Outbox *outbox            # frames to send, if the target is a client of the extension; NULL = it is not
    uint8_t number            # of the frames that carry its bytes: OUTPUT or STDERR
    bint reads_ahead          # it also reads while it holds bytes
    Errands *guard            # closes descriptors that the source may pass (SCM_RIGHTS); NULL = it cannot pass any
    uint64_t read_bytes       # from the source, in all
    uint64_t bytes            # written to the target, in all
    uint8_t last_byte         # written to the target; UNKNOWN_TEXT if it was spliced, 0 = none


cdef inline size_t channel_held_bytes(const Channel *channel) noexcept nogil:
    if channel.pipe != NULL:
        return channel.pipe.bytes
    return channel.buffer.end - channel.buffer.start if channel.buffer != NULL else 0


cdef inline bint channel_holds(const Channel *channel) noexcept nogil:
    """True if the channel has bytes to write, or frames of its outbox that it may write now (outbox_admits)."""
    return (channel.buffer != NULL or channel.pipe != NULL
            or (channel.outbox != NULL and outbox_waits(channel.outbox)
                and outbox_admits(channel.outbox, channel.number)))


cdef inline bint channel_may_write(const Channel *channel) noexcept nogil:
    """True if the target may have room, and no other channel is in the middle of a frame to the same client."""
    return channel.writable and (channel.outbox == NULL or outbox_admits(channel.outbox, channel.number))


cdef inline bint channel_ended(const Channel *channel) noexcept nogil:
    """True if the channel will write no more: the source has ended and all is written, or the source has failed."""
    return channel.state == CHANNEL_SHUT or channel.state == CHANNEL_SOURCE_FAILED


cdef inline bint channel_has_frames(const Channel *channel) noexcept nogil:
    """True if the buffer holds frames that are not parsed yet."""
    return channel.buffer != NULL and channel.buffer.parsed < channel.buffer.filled


cdef inline void channel_open(Channel *channel, int source, int target) noexcept nogil:
    """Initializes a channel whose memory is all zero."""
    channel.source = source
    channel.target = target
    channel.writable = True
    channel.allowance = -1
    channel.flush_bytes = FLUSH_ALL


cdef inline void channel_drop_bytes(Channel *channel, Pool *pool) noexcept nogil:
    """Discards the bytes that the channel has read."""
    if channel.buffer != NULL:
        buffer_return(pool, channel.buffer)
        channel.buffer = NULL
    if channel.pipe != NULL:
        pipe_return(pool, channel.pipe)
        channel.pipe = NULL


cdef inline void channel_drop(Channel *channel, Pool *pool) noexcept nogil:
    """Discards the bytes and frames that the channel holds."""
    channel_drop_bytes(channel, pool)
    if channel.outbox != NULL:
        outbox_empty(channel.outbox)


cdef inline size_t channel_limit(const Channel *channel, size_t wanted) noexcept nogil:
    """Returns how many of the wanted bytes the channel may read."""
    if 0 <= channel.allowance < <int64_t>wanted:
        return <size_t>channel.allowance
    return wanted


cdef inline bint channel_note_read(Channel *channel, ssize_t got, size_t room, bint short_tells) noexcept nogil:
    """Records the result of a read of at most `room` bytes. Returns True if another read may return more at once.

    A read that returns fewer bytes than asked for has emptied the source (epoll(7), Q9): epoll reports the next byte.
    """
    channel.no_memory = memory_is_short(got)
    if channel.no_memory:
        return False
    if got <= 0:
        if got < 0 and errno == EINTR:
            return True
        channel.readable = False
        # A pty master returns EIO, not 0, when the last slave descriptor is closed and all output is read.
        if got == 0 or errno != EAGAIN:
            channel.state = CHANNEL_DRAINING if got == 0 or errno == EIO else CHANNEL_SOURCE_FAILED
        elif channel.hung_up:
            channel.state = CHANNEL_DRAINING
        return False
    channel.read_bytes += <uint64_t>got
    if channel.allowance > 0:
        channel.allowance -= got
    if channel.hung_up:
        return True
    channel.readable = <size_t>got == room or not short_tells
    return channel.readable


cdef inline ssize_t channel_read(Channel *channel, void *data, size_t size) noexcept nogil:
    """Reads from the source as read(2) does."""
    if channel.guard != NULL:
        return errands_read(channel.guard, channel.source, data, size)
    return read(channel.source, data, size)


cdef inline void channel_fill_buffer(Channel *channel, Pool *pool, size_t most_bytes, int reads) noexcept nogil:
    cdef Buffer *buffer = channel.buffer if channel.buffer != NULL else buffer_lend(pool)
    cdef bint more = True
    cdef size_t room
    cdef ssize_t got
    channel.no_memory = buffer == NULL
    if channel.no_memory:
        return
    while more and reads > 0 and buffer.end < most_bytes:
        room = channel_limit(channel, most_bytes - buffer.end)
        got = channel_read(channel, buffer.data + buffer.end, room) if room > 0 else 0
        if got > 0:
            buffer.end += <uint32_t>got
        more = channel_note_read(channel, got, room, channel.short_read_means_dry)
        reads -= 1
    channel.buffer = buffer if buffer.end > 0 else NULL
    if channel.buffer == NULL:
        buffer_return(pool, buffer)


cdef inline bint channel_fill_pipe(Channel *channel, Pool *pool, size_t most_bytes, int reads) noexcept nogil:
    """Splices from the source into a pipe. Returns False if the caller should read(2) instead.

    A pipe can be full after a few bytes: it has 16 slots, and a slot may hold one byte. A socket does not splice urgent
    data (tcp(7)). So neither a short splice nor EAGAIN means that a socket is empty; only a read can tell.
    """
    cdef Pipe *lent = channel.pipe if channel.pipe != NULL else pipe_lend(pool)
    cdef bint more = True
    cdef size_t room
    cdef ssize_t got
    if lent == NULL:
        return False
    while more and reads > 0 and lent.bytes < most_bytes:
        # A slot of a pipe can take more than a page, so the pipe does not limit the bytes.
        room = channel_limit(channel, min(<size_t>channel.splice_bytes, most_bytes - lent.bytes))
        got = 0
        if room > 0:
            got = c_splice(channel.source, NULL, lent.write_fd, NULL, room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if got < 0 and errno == EAGAIN and (lent.bytes > 0 or not channel.short_splice_means_dry):
            channel.gathering = False
            break
        if got < 0 and errno == EINVAL:
            pool.splice_refused = True
            channel.gathering = False
            break
        if got > 0:
            lent.bytes += <uint32_t>got
        more = channel_note_read(channel, got, room, channel.short_splice_means_dry)
        reads -= 1
    channel.pipe = lent if lent.bytes > 0 else NULL
    if channel.pipe == NULL:
        pipe_return(pool, lent)
    return channel.pipe != NULL or not channel.readable


cdef inline void channel_fill(
    Channel *channel, Pool *pool, size_t most_bytes, int reads, bint splice
) noexcept nogil:
    """Reads until the source is empty, the channel holds `most_bytes`, or it has read `reads` times."""
    check(most_bytes <= pool.buffer_bytes, "most_bytes fit into a buffer")
    splice = splice and channel.guard == NULL and not pool.splice_refused
    if channel.pipe != NULL or (splice and channel.buffer == NULL):
        if channel_fill_pipe(channel, pool, most_bytes, reads):
            return
    channel_fill_buffer(channel, pool, most_bytes, reads)


cdef inline bint channel_note_write(Channel *channel, ssize_t sent, size_t wanted) noexcept nogil:
    """Records the result of a write of `wanted` bytes. Returns True if the target may take more at once."""
    channel.no_memory = memory_is_short(sent)
    if channel.no_memory:
        channel.writable = True   # epoll does not report when there is memory again
        return False
    if sent < 0:
        if errno == EINTR:
            return True
        channel.writable = False
        if errno != EAGAIN:
            channel.state = CHANNEL_TARGET_FAILED
        return False
    channel.bytes += <uint64_t>sent
    # A short write means that the target is full: another one would fail with EAGAIN.
    channel.writable = <size_t>sent == wanted
    return channel.writable


cdef inline void channel_flush_buffer(Channel *channel, size_t most_bytes) noexcept nogil:
    """Writes at most `most_bytes` from the buffer, until the target is full. Keeps the buffer even if it is empty."""
    cdef Buffer *buffer = channel.buffer
    cdef size_t wanted
    cdef ssize_t sent
    while buffer.start < buffer.end and most_bytes > 0:
        wanted = min(<size_t>(buffer.end - buffer.start), most_bytes)
        sent = write(channel.target, buffer.data + buffer.start, wanted)
        if sent > 0:
            buffer.start += <uint32_t>sent
            channel.last_byte = buffer.data[buffer.start - 1]
            most_bytes -= <size_t>sent
        if not channel_note_write(channel, sent, wanted):
            return


cdef inline void channel_unsplice(Channel *channel, Pool *pool) noexcept nogil:
    """Moves the bytes of the pipe into a buffer, since the kernel refuses to splice to the target."""
    cdef Buffer *buffer = buffer_lend(pool)
    cdef ssize_t got
    pool.splice_refused = True
    channel.no_memory = buffer == NULL
    if channel.no_memory:
        return
    got = read(channel.pipe.read_fd, buffer.data, pool.buffer_bytes)
    buffer.end = <uint32_t>got if got > 0 else 0
    channel.buffer = buffer
    if got != <ssize_t>channel.pipe.bytes:
        channel.state = CHANNEL_SOURCE_FAILED
    else:
        channel.pipe.bytes = 0
    pipe_return(pool, channel.pipe)
    channel.pipe = NULL


cdef inline void channel_flush_pipe(Channel *channel, Pool *pool) noexcept nogil:
    """Splices at most `flush_bytes` from the pipe to the target, until the target is full."""
    cdef Pipe *lent = channel.pipe
    cdef size_t most_bytes = channel.flush_bytes
    cdef size_t wanted
    cdef ssize_t sent
    while lent.bytes > 0 and most_bytes > 0:
        wanted = min(<size_t>lent.bytes, most_bytes)
        sent = c_splice(lent.read_fd, NULL, channel.target, NULL, wanted, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if sent < 0 and errno == EINVAL:
            channel_unsplice(channel, pool)
            return
        if sent > 0:
            lent.bytes -= <uint32_t>sent
            channel.last_byte = UNKNOWN_TEXT
            most_bytes -= <size_t>sent
        if not channel_note_write(channel, sent, wanted):
            return


cdef inline ssize_t channel_send_pieces(const Channel *channel, size_t frames, size_t held) noexcept nogil:
    """Sends `frames` bytes of the outbox, then `held` bytes of the buffer: the payload of an output frame."""
    cdef Outbox *outbox = channel.outbox
    cdef iovec pieces[2]
    if held == 0:
        return send(channel.target, outbox.data + outbox.start, frames,
                    MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if outbox.frame_left > 0 else 0))
    pieces[0].iov_base, pieces[0].iov_len = outbox.data + outbox.start, frames
    pieces[1].iov_base, pieces[1].iov_len = channel.buffer.data + channel.buffer.start, held
    return writev(channel.target, pieces, 2)


cdef inline bint channel_send_frames(Channel *channel) noexcept nogil:
    """Sends the frames of the outbox. Returns False if the target is full, or took only a part."""
    cdef Outbox *outbox = channel.outbox
    cdef Buffer *buffer = channel.buffer
    cdef size_t frames, held, head
    cdef ssize_t sent
    outbox_prepare(outbox, channel_held_bytes(channel), channel.number)
    while outbox.start < outbox.end:
        frames = outbox.end - outbox.start
        held = buffer.end - buffer.start if buffer != NULL and outbox.frame_left > 0 else 0
        sent = channel_send_pieces(channel, frames, held)
        if sent > 0:
            head = min(<size_t>sent, frames)
            channel.bytes -= head   # `bytes` counts no headers
            outbox_note_sent(outbox, head)
            if held > 0:
                buffer.start += <uint32_t>(<size_t>sent - head)
        if not channel_note_write(channel, sent, frames + held):
            return False
        outbox_prepare(outbox, channel_held_bytes(channel), channel.number)
    return True


cdef inline void channel_flush(Channel *channel, Pool *pool) noexcept nogil:
    """Writes up to `flush_bytes` that the channel holds, until the target is full. Returns an empty buffer or pipe."""
    cdef Outbox *outbox = channel.outbox
    channel.gathering = False
    if outbox == NULL:
        channel_flush_held(channel, pool)
        return
    if not outbox_admits(outbox, channel.number):
        return
    while channel_send_frames(channel):
        channel_flush_held(channel, pool)
        outbox.frame_left = channel_held_bytes(channel)
        # Frames that waited for the end of an OUTPUT frame follow it.
        if outbox.frame_left > 0 or not channel.writable or channel.no_memory or not outbox_waits(outbox):
            return


cdef inline void channel_flush_held(Channel *channel, Pool *pool) noexcept nogil:
    """Writes bytes from the pipe or the buffer."""
    if channel.pipe != NULL:
        channel_flush_pipe(channel, pool)
        if channel.pipe != NULL and channel.pipe.bytes == 0:
            pipe_return(pool, channel.pipe)
            channel.pipe = NULL
    if channel.buffer != NULL:
        channel_flush_buffer(channel, channel.flush_bytes)
        if channel.buffer.start == channel.buffer.end and not channel_has_frames(channel):
            buffer_return(pool, channel.buffer)
            channel.buffer = NULL
