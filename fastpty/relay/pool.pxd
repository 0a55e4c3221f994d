"""The pool of buffers and pipes. A channel borrows one while it holds bytes, and gives it back when it is empty.

So an idle session needs no buffer. The pool keeps some that were given back, for the next borrower.
"""

from libc.errno cimport ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free, malloc

from fastpty.system.check cimport check
from fastpty.system.linux cimport O_CLOEXEC, O_NONBLOCK, close, pipe2

cdef enum:
    BUFFER_BYTES = 65536      # the default and largest size of a buffer
    BUFFER_LEAST_BYTES = 4096
    SPARE_MOST = 32           # buffers, and pipes, kept for the next borrower; further ones are freed

cdef struct Buffer:
    Buffer *next
    uint32_t start            # data[start:end] waits to be written
    uint32_t end
    uint32_t parsed           # data[parsed:filled], after that, holds frames that are not parsed yet
    uint32_t filled
    uint8_t *data             # Pool.buffer_bytes long; after this struct, in the same allocation

cdef struct Pipe:
    Pipe *next
    int read_fd
    int write_fd
    uint32_t bytes

cdef struct Pool:
    uint32_t buffer_bytes     # the size of a buffer, and the most that a channel holds
    Buffer *buffers
    Pipe *pipes
    uint32_t spare_buffers    # how many `buffers` there are
    uint32_t spare_pipes
    uint32_t lent_buffers
    uint32_t lent_pipes
    bint splice_refused       # the kernel refused splice(2) for a terminal: use read(2) and write(2)


cdef inline Buffer *buffer_lend(Pool *pool) noexcept nogil:
    """Returns an empty buffer, or NULL if there is no memory."""
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
    """Returns an empty pipe, or NULL if there is no memory or descriptor left."""
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
    """Takes a pipe back. Closes it if it still holds bytes: the next borrower would read another session's output."""
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


cdef inline bint memory_is_short(ssize_t result) noexcept nogil:
    """True if a call that returned `result` failed because the kernel had no memory (ENOMEM, ENOBUFS)."""
    return result < 0 and (errno == ENOMEM or errno == ENOBUFS)
