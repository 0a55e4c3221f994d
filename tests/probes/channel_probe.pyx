"""Lets tests call the channels of fastpty/relay/channel.pxd. For tests only."""

from libc.string cimport memset

from fastpty.relay.channel cimport Channel, channel_drop, channel_fill, channel_held_bytes, channel_open
from fastpty.relay.pool cimport BUFFER_BYTES, Buffer, Pool, buffer_lend, buffer_return, pool_drop_spares

cdef extern from *:
    """
    #ifdef FASTPTY_CHECKED
    #define IS_CHECKED 1
    #else
    #define IS_CHECKED 0
    #endif
    """
    const bint C_IS_CHECKED "IS_CHECKED"

IS_CHECKED = bool(C_IS_CHECKED)


cdef class Probe:
    """One channel that reads from `source` on request."""
    cdef Channel channel
    cdef Pool pool

    def __init__(self, int source):
        memset(&self.channel, 0, sizeof(self.channel))
        memset(&self.pool, 0, sizeof(self.pool))
        self.pool.buffer_bytes = BUFFER_BYTES
        channel_open(&self.channel, source, -1)
        self.channel.short_read_means_dry = self.channel.short_splice_means_dry = True
        self.channel.splice_bytes = 4096
        self.channel.readable = True

    def __dealloc__(self):
        channel_drop(&self.channel, &self.pool)
        pool_drop_spares(&self.pool)

    def fill(self, int most_bytes, int reads, bint splice):
        """Calls channel_fill once. Returns the bytes that the channel holds, and whether it expects more."""
        channel_fill(&self.channel, &self.pool, most_bytes, reads, splice)
        return channel_held_bytes(&self.channel), bool(self.channel.readable)


def give_back_what_was_not_lent():
    """Returns a buffer twice. A checked build (fastpty/system/check.pxd) aborts."""
    cdef Pool pool
    cdef Buffer *buffer
    memset(&pool, 0, sizeof(pool))
    pool.buffer_bytes = BUFFER_BYTES
    buffer = buffer_lend(&pool)
    pool.lent_buffers = 0
    buffer_return(&pool, buffer)
    pool_drop_spares(&pool)
