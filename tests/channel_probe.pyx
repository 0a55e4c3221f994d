"""A door to the channels of fastpty/_channel.pxd, for the tests alone."""

from libc.string cimport memset

from fastpty._channel cimport Channel, Pool, channel_drop, channel_fill, channel_open, pool_drop_spares


cdef class Probe:
    """One channel from `source` that is filled on request, and what it knows then."""
    cdef Channel channel
    cdef Pool pool

    def __init__(self, int source, int dry_below_bytes):
        memset(&self.channel, 0, sizeof(self.channel))
        memset(&self.pool, 0, sizeof(self.pool))
        channel_open(&self.channel, source, -1)
        self.channel.dry_below_bytes = self.channel.splice_bytes = dry_below_bytes
        self.channel.splice_dry_below_bytes = dry_below_bytes
        self.channel.readable = True

    def __dealloc__(self):
        channel_drop(&self.channel, &self.pool)
        pool_drop_spares(&self.pool)

    def fill(self, int most_bytes, int reads, bint splice):
        """One channel_fill; returns (bytes held, readable, gathering)."""
        channel_fill(&self.channel, &self.pool, most_bytes, reads, splice)
        held = 0
        if self.channel.buffer != NULL:
            held += self.channel.buffer.end - self.channel.buffer.start
        if self.channel.pipe != NULL:
            held += self.channel.pipe.bytes
        return held, bool(self.channel.readable), bool(self.channel.gathering)
