"""A channel: one direction of a session, from a source descriptor to a target descriptor.

    fill    OPEN                read; end of file → DRAINING
    flush   holds bytes         write; EAGAIN stops; a hard error → TARGET_FAILED
            DRAINING and empty  the owner half-closes the target → SHUT

An idle channel owns nothing. What it reads goes into a buffer (or, spliced, a pipe) lent by the pool, and goes back as
soon as it is written. A stream gathers for some turns before it writes; else only bytes that the target refused stay
lent, and while it holds such a channel does not read. So the size of a buffer bounds its memory, and the kernel's own
buffers make the source wait. Where memory is short the channel waits.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.errands cimport Errands, errands_read
from fastpty.relay.pool cimport Buffer, Pipe, Pool, buffer_lend, buffer_return, memory_is_short, pipe_lend, pipe_return
from fastpty.system.check cimport check
from fastpty.system.linux cimport SPLICE_F_MOVE, SPLICE_F_NONBLOCK, c_splice, read, write

cdef enum:
    FLUSH_ALL = 0xFFFFFFFF

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
    bint readable             # the source may have bytes; false after it ran dry, until epoll says otherwise
    bint writable             # the target may have room; false after it refused, until epoll says otherwise
    bint eager                # the source has hung up: no further event will come, read on to its end
    bint short_read_tells     # that the source is dry
    bint short_splice_tells
    uint32_t splice_bytes     # what one splice asks of the source
    uint32_t flush_bytes      # what one flush gives the target, at the most
    bint starved              # there was no memory, here or in the kernel: to be tried again after a while
    bint gathering            # what it holds was not offered to the target yet, since more may come at once
    int64_t allowance         # bytes that may still be read; -1 = without end
    Buffer *buffer
    Pipe *pipe
    Errands *guard            # the source is a socket that descriptors may come through; NULL = they cannot
    uint64_t taken_bytes      # from the source, in all
    uint64_t bytes            # delivered to the target


cdef inline size_t channel_held_bytes(const Channel *channel) noexcept nogil:
    if channel.pipe != NULL:
        return channel.pipe.bytes
    return channel.buffer.end - channel.buffer.start if channel.buffer != NULL else 0


cdef inline bint channel_holds(const Channel *channel) noexcept nogil:
    return channel.buffer != NULL or channel.pipe != NULL


cdef inline bint channel_has_frames(const Channel *channel) noexcept nogil:
    """Whether it holds frames that have yet to be parsed: they wait for their turn, and for no room."""
    return channel.buffer != NULL and channel.buffer.parsed < channel.buffer.filled


cdef inline void channel_open(Channel *channel, int source, int target) noexcept nogil:
    """Opens a channel whose memory is all zero."""
    channel.source = source
    channel.target = target
    channel.writable = True
    channel.allowance = -1
    channel.flush_bytes = FLUSH_ALL


cdef inline void channel_drop(Channel *channel, Pool *pool) noexcept nogil:
    """Forgets what the channel holds, if anything."""
    if channel.buffer != NULL:
        buffer_return(pool, channel.buffer)
        channel.buffer = NULL
    if channel.pipe != NULL:
        pipe_return(pool, channel.pipe)
        channel.pipe = NULL


cdef inline size_t channel_room(const Channel *channel, size_t wanted) noexcept nogil:
    if 0 <= channel.allowance < <int64_t>wanted:
        return <size_t>channel.allowance
    return wanted


cdef inline bint channel_took(Channel *channel, ssize_t got, size_t room, bint short_tells) noexcept nogil:
    """Books the result of one read of at most `room` bytes; true if another read may bring more at once.

    Only a read that brought less than it could have tells that the source is dry: then the next byte is an event.
    """
    channel.starved = memory_is_short(got)
    if channel.starved:
        return False
    if got <= 0:
        if got < 0 and errno == EINTR:
            return True
        channel.readable = False
        # A pty says EIO, not 0, when its last slave descriptor is closed and all is read.
        if got == 0 or errno != EAGAIN:
            channel.state = CHANNEL_DRAINING if got == 0 or errno == EIO else CHANNEL_SOURCE_FAILED
        elif channel.eager:
            channel.state = CHANNEL_DRAINING
        return False
    channel.taken_bytes += <uint64_t>got
    if channel.allowance > 0:
        channel.allowance -= got
    if channel.eager:
        return True
    channel.readable = <size_t>got == room or not short_tells
    return channel.readable


cdef inline ssize_t channel_read(Channel *channel, void *data, size_t size) noexcept nogil:
    if channel.guard != NULL:
        return errands_read(channel.guard, channel.source, data, size)
    return read(channel.source, data, size)


cdef inline void channel_fill_buffer(Channel *channel, Pool *pool, size_t most_bytes, int reads) noexcept nogil:
    cdef Buffer *buffer = channel.buffer if channel.buffer != NULL else buffer_lend(pool)
    cdef bint more = True
    cdef size_t room
    cdef ssize_t got
    channel.starved = buffer == NULL
    if channel.starved:
        return
    while more and reads > 0 and buffer.end < most_bytes:
        room = channel_room(channel, most_bytes - buffer.end)
        got = channel_read(channel, buffer.data + buffer.end, room) if room > 0 else 0
        if got > 0:
            buffer.end += <uint32_t>got
        more = channel_took(channel, got, room, channel.short_read_tells)
        reads -= 1
    channel.buffer = buffer if buffer.end > 0 else NULL
    if channel.buffer == NULL:
        buffer_return(pool, buffer)


cdef inline bint channel_fill_pipe(Channel *channel, Pool *pool, size_t most_bytes, int reads) noexcept nogil:
    """False: not possible here, nothing was done.

    A pipe can be full after few bytes (16 pieces, however small), and a socket does not splice what is urgent (tcp(7)).
    So neither a short splice nor EAGAIN tells that a socket is dry: a read has to find out.
    """
    cdef Pipe *lent = channel.pipe if channel.pipe != NULL else pipe_lend(pool)
    cdef bint more = True
    cdef size_t room
    cdef ssize_t got
    if lent == NULL:
        return False
    while more and reads > 0 and lent.bytes < most_bytes:
        # Not more than is wanted: fragments can be larger than pages, so a pipe takes more than its slots suggest.
        room = channel_room(channel, min(<size_t>channel.splice_bytes, most_bytes - lent.bytes))
        got = 0
        if room > 0:
            got = c_splice(channel.source, NULL, lent.write_fd, NULL, room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if got < 0 and errno == EAGAIN and (lent.bytes > 0 or not channel.short_splice_tells):
            channel.gathering = False
            break
        if got < 0 and errno == EINVAL:
            pool.splice_refused = True
            channel.gathering = False
            break
        if got > 0:
            lent.bytes += <uint32_t>got
        more = channel_took(channel, got, room, channel.short_splice_tells)
        reads -= 1
    channel.pipe = lent if lent.bytes > 0 else NULL
    if channel.pipe == NULL:
        pipe_return(pool, lent)
    return channel.pipe != NULL or not channel.readable


cdef inline void channel_fill(
    Channel *channel, Pool *pool, size_t most_bytes, int reads, bint splice
) noexcept nogil:
    """Reads until the source is dry, `most_bytes` are held, which a buffer must take, or `reads` reads were made."""
    check(most_bytes <= pool.buffer_bytes, "a buffer takes what is wanted")
    splice = splice and channel.guard == NULL and not pool.splice_refused
    if channel.pipe != NULL or (splice and channel.buffer == NULL):
        if channel_fill_pipe(channel, pool, most_bytes, reads):
            return
    channel_fill_buffer(channel, pool, most_bytes, reads)


cdef inline bint channel_wrote(Channel *channel, ssize_t sent, size_t wanted) noexcept nogil:
    """Books one write's result; true if the rest may be tried at once."""
    channel.starved = memory_is_short(sent)
    if channel.starved:
        channel.writable = True   # as far as is known: no event will tell when there is memory
        return False
    if sent < 0:
        if errno == EINTR:
            return True
        channel.writable = False
        if errno != EAGAIN:
            channel.state = CHANNEL_TARGET_FAILED
        return False
    channel.bytes += <uint64_t>sent
    # Less than was offered: the target is full, and another call would only say EAGAIN.
    channel.writable = <size_t>sent == wanted
    return channel.writable


cdef inline void channel_flush_buffer(Channel *channel, size_t most_bytes) noexcept nogil:
    """Writes so much of the buffer, as far as the target takes it; keeps it even when it is empty then."""
    cdef Buffer *buffer = channel.buffer
    cdef size_t wanted
    cdef ssize_t sent
    while buffer.start < buffer.end and most_bytes > 0:
        wanted = min(<size_t>(buffer.end - buffer.start), most_bytes)
        sent = write(channel.target, buffer.data + buffer.start, wanted)
        if sent > 0:
            buffer.start += <uint32_t>sent
            most_bytes -= <size_t>sent
        if not channel_wrote(channel, sent, wanted):
            return


cdef inline void channel_unsplice(Channel *channel, Pool *pool) noexcept nogil:
    """Moves what is in the pipe into a buffer: this kernel does not splice to the target."""
    cdef Buffer *buffer = buffer_lend(pool)
    cdef ssize_t got
    pool.splice_refused = True
    channel.starved = buffer == NULL
    if channel.starved:
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
            most_bytes -= <size_t>sent
        if not channel_wrote(channel, sent, wanted):
            return


cdef inline void channel_flush(Channel *channel, Pool *pool) noexcept nogil:
    """Writes what the channel holds, up to `flush_bytes`, as far as the target takes it; gives back what is empty."""
    channel.gathering = False
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
