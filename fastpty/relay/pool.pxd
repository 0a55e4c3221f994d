"""Buffers and pipes, lent to channels while they hold something.

A pipe that still holds bytes is never lent again.
"""

from libc.errno cimport ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free, malloc

from fastpty.system.check cimport check
from fastpty.system.linux cimport O_CLOEXEC, O_NONBLOCK, close, pipe2

cdef enum:
    BUFFER_BYTES = 65536      # that a buffer takes, unless less is asked for:
    BUFFER_LEAST_BYTES = 4096
    SPARE_MOST = 32           # lent things kept for the next borrower; more are given back to the system

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


cdef inline bint memory_is_short(ssize_t result) noexcept nogil:
    """Whether a call failed since the kernel has no memory for it now."""
    return result < 0 and (errno == ENOMEM or errno == ENOBUFS)
