"""A channel: one direction of a session, from a source descriptor to a target descriptor.

    fill    OPEN                read; end of file → DRAINING
    flush   holds bytes         write; EAGAIN stops; a hard error → TARGET_FAILED
            DRAINING and empty  the owner half-closes the target → SHUT

An idle channel owns nothing. What it reads goes into a buffer (or, spliced, a pipe) lent by the pool, and goes back as
soon as it is written. A stream gathers for some turns before it writes; else only bytes that the target refused stay
lent, and while it holds such a channel does not read. So the size of a buffer bounds its memory, and the kernel's own
buffers make the source wait. Where memory is short the channel waits.
"""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc

from fastpty._check cimport check
from fastpty._errands cimport Errands, errands_read
from fastpty._linux cimport (
    O_CLOEXEC,
    O_NONBLOCK,
    SPLICE_F_MOVE,
    SPLICE_F_NONBLOCK,
    c_splice,
    close,
    pipe2,
    read,
    write,
)

cdef enum:
    BUFFER_BYTES = 65536      # that a buffer takes, unless less is asked for:
    BUFFER_LEAST_BYTES = 4096
    FLUSH_ALL = 0xFFFFFFFF
    SPARE_MOST = 32           # lent things kept for the next borrower; more are given back to the system

cdef enum ChannelState:
    CHANNEL_OPEN
    CHANNEL_DRAINING
    CHANNEL_SHUT
    CHANNEL_SOURCE_FAILED
    CHANNEL_TARGET_FAILED

cdef struct Buffer:
    Buffer *next
    uint32_t start            # data[start:end] is what it holds, to be written
    uint32_t end
    uint32_t parsed           # data[parsed:filled], behind that, are frames that have yet to be parsed
    uint32_t filled
    uint8_t *data             # behind this struct, as many bytes as the pool says

cdef struct Pipe:
    Pipe *next
    int read_fd
    int write_fd
    uint32_t bytes

cdef struct Pool:
    uint32_t buffer_bytes     # that a buffer takes, and so a channel holds at the most
    Buffer *buffers
    Pipe *pipes
    uint32_t spare_buffers
    uint32_t spare_pipes
    uint32_t lent_buffers
    uint32_t lent_pipes
    bint splice_refused       # by this kernel: read and write from now on

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


cdef inline Buffer *buffer_lend(Pool *pool) noexcept nogil:
    cdef Buffer *buffer = pool.buffers
    if buffer != NULL:
        pool.buffers = buffer.next
        pool.spare_buffers -= 1
    else:
        buffer = <Buffer *>malloc(sizeof(Buffer) + pool.buffer_bytes)
        if buffer == NULL:
            return NULL
        buffer.data = <uint8_t *>(buffer + 1)
    buffer.start = buffer.end = 0
    buffer.parsed = buffer.filled = 0
    pool.lent_buffers += 1
    return buffer


cdef inline void buffer_return(Pool *pool, Buffer *buffer) noexcept nogil:
    check(pool.lent_buffers > 0, "a buffer comes back once")
    check(buffer.start <= buffer.end <= pool.buffer_bytes, "a buffer's marks are in order and in it")
    pool.lent_buffers -= 1
    if pool.spare_buffers >= SPARE_MOST:
        free(buffer)
        return
    buffer.next = pool.buffers
    pool.buffers = buffer
    pool.spare_buffers += 1


cdef inline Pipe *pipe_lend(Pool *pool) noexcept nogil:
    cdef Pipe *lent = pool.pipes
    cdef int ends[2]
    if lent != NULL:
        pool.pipes = lent.next
        pool.spare_pipes -= 1
    else:
        if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
            return NULL
        lent = <Pipe *>malloc(sizeof(Pipe))
        if lent == NULL:
            close(ends[0])
            close(ends[1])
            return NULL
        lent.read_fd = ends[0]
        lent.write_fd = ends[1]
        lent.bytes = 0
    pool.lent_pipes += 1
    return lent


cdef inline void pipe_return(Pool *pool, Pipe *lent) noexcept nogil:
    """Takes a pipe back. One that still holds bytes is closed: the next borrower would read a stranger's output."""
    check(pool.lent_pipes > 0, "a pipe comes back once")
    pool.lent_pipes -= 1
    if lent.bytes > 0 or pool.spare_pipes >= SPARE_MOST:
        close(lent.read_fd)
        close(lent.write_fd)
        free(lent)
        return
    lent.next = pool.pipes
    pool.pipes = lent
    pool.spare_pipes += 1


cdef inline void pool_drop_spares(Pool *pool) noexcept nogil:
    cdef Buffer *buffer
    cdef Pipe *spare
    while pool.buffers != NULL:
        buffer = pool.buffers
        pool.buffers = buffer.next
        free(buffer)
    while pool.pipes != NULL:
        spare = pool.pipes
        pool.pipes = spare.next
        close(spare.read_fd)
        close(spare.write_fd)
        free(spare)
    pool.spare_buffers = 0
    pool.spare_pipes = 0


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


cdef inline bint memory_is_short(ssize_t result) noexcept nogil:
    """Whether a call failed since the kernel has no memory for it now."""
    return result < 0 and (errno == ENOMEM or errno == ENOBUFS)


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
    cdef bint may_splice = (
        splice and channel.buffer == NULL and channel.guard == NULL and not pool.splice_refused
    )
    if (channel.pipe != NULL or may_splice) and channel_fill_pipe(channel, pool, most_bytes, reads):
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
