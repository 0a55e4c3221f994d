"""Writes and reads the load, in C without the GIL, so that the harness does not limit the figures."""

from libc.errno cimport EINTR, EIO, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.unistd cimport close, read, write

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_DEL
    union epoll_data:
        uint32_t u32
    struct epoll_event:
        unsigned int events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int most, int timeout_ms)

cdef extern from "<poll.h>" nogil:
    enum: POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef enum:
    CHUNK_BYTES = 65536
    WRITE_BYTES = 262144           # holds many frames
    HEADER_BYTES = 4
    PATIENCE_MS = 20000


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline ssize_t read_some(int fd, uint8_t *data, size_t size) noexcept nogil:
    """Returns the bytes read, 0 at the end (also of a pty), or -errno."""
    cdef ssize_t got = read(fd, data, size)
    while got < 0 and errno == EINTR:
        got = read(fd, data, size)
    if got < 0:
        return 0 if errno == EIO else -errno
    return got


cdef inline int write_all(int fd, const uint8_t *data, size_t size) noexcept nogil:
    cdef ssize_t sent
    while size > 0:
        sent = write(fd, data, size)
        if sent < 0:
            if errno == EINTR:
                continue
            return -errno
        data += sent
        size -= <size_t>sent
    return 0


cdef void check(ssize_t result) except *:
    if result < 0:
        raise OSError(-result, "the load's connection")


def drain(int fd, int64_t wanted):
    """Reads this many bytes; returns how many arrived before the end."""
    cdef uint8_t data[CHUNK_BYTES]
    cdef int64_t total = 0
    cdef ssize_t got = 1
    with nogil:
        while total < wanted and got > 0:
            got = read_some(fd, data, CHUNK_BYTES)
            total += got
    check(got)
    return total


def drain_to_end(int fd):
    """Reads to the end of file; returns the bytes, and when the last of them arrived (CLOCK_MONOTONIC, ns)."""
    cdef uint8_t data[CHUNK_BYTES]
    cdef int64_t total = 0
    cdef int64_t last_ns = now_ns()
    cdef ssize_t got = 1
    with nogil:
        while got > 0:
            got = read_some(fd, data, CHUNK_BYTES)
            if got > 0:
                total += got
                last_ns = now_ns()
    return total, last_ns


cdef struct Source:
    int fd
    int64_t total
    int64_t done_ns                # 0: not all wanted bytes have arrived


cdef int watch(Source *sources, int count, int stop_fd) except -1:
    """Creates an epoll of these descriptors. An event's data is the index, or `count` for `stop_fd`."""
    cdef epoll_event event
    cdef int epoll = epoll_create1(0)
    cdef int index
    check(epoll)
    event.events = EPOLLIN
    for index in range(count + (stop_fd >= 0)):
        event.data.u32 = index
        if epoll_ctl(epoll, EPOLL_CTL_ADD, sources[index].fd if index < count else stop_fd, &event) < 0:
            raise OSError(errno, "epoll_ctl")
    return epoll


cdef int drain_watched(int epoll, Source *sources, int count, int64_t wanted) noexcept nogil:
    """Reads until each has given `wanted` bytes or the stop descriptor is readable; returns 0 or -errno."""
    cdef uint8_t data[CHUNK_BYTES]
    cdef epoll_event events[64]
    cdef int left = count
    cdef int index, ready
    cdef Source *source
    cdef ssize_t got
    while left > 0:
        ready = epoll_wait(epoll, events, 64, PATIENCE_MS)
        if ready == 0:
            return -ETIMEDOUT
        if ready < 0 and errno != EINTR:
            return -errno
        for index in range(ready):
            if events[index].data.u32 == <uint32_t>count:
                return 0
            source = &sources[events[index].data.u32]
            got = read_some(source.fd, data, CHUNK_BYTES)
            if got < 0:
                return <int>got
            source.total += got
            if got == 0 or source.total >= wanted:
                source.done_ns = now_ns()
                epoll_ctl(epoll, EPOLL_CTL_DEL, source.fd, NULL)
                left -= 1
    return 0


def drain_each(list fds, int64_t wanted, int stop_fd=-1):
    """Reads until each has given this many bytes or has ended, or until `stop_fd` is readable.

    Returns for each its bytes, and when (CLOCK_MONOTONIC, ns; 0 = not at all) it had given them.
    """
    cdef int count = len(fds)
    cdef Source *sources = <Source *>calloc(count, sizeof(Source))
    cdef int index, epoll, result
    for index in range(count):
        sources[index].fd = fds[index]
    epoll = watch(sources, count, stop_fd)
    with nogil:
        result = drain_watched(epoll, sources, count, wanted)
        close(epoll)
    found = [(sources[index].total, sources[index].done_ns) for index in range(count)]
    free(sources)
    check(result)
    return found


cdef int pour_pattern(int fd, const uint8_t *pattern, size_t size, int64_t times) noexcept nogil:
    cdef int result = 0
    while times > 0 and result == 0:
        result = write_all(fd, pattern, size)
        times -= 1
    return result


def pour(int fd, int64_t total):
    """Writes this many bytes, 64 KiB at a time."""
    cdef uint8_t data[CHUNK_BYTES]
    cdef int result
    memset(data, b"x", CHUNK_BYTES)
    with nogil:
        result = pour_pattern(fd, data, CHUNK_BYTES, total // CHUNK_BYTES)
        if result == 0:
            result = write_all(fd, data, total % CHUNK_BYTES)
    check(result)


cdef size_t put_frame(uint8_t *at, size_t payload_bytes) noexcept nogil:
    at[0] = 0
    at[1] = payload_bytes & 0xFF
    at[2] = payload_bytes >> 8
    at[3] = 0
    memset(at + HEADER_BYTES, b"x", payload_bytes)
    return HEADER_BYTES + payload_bytes


def pour_frames(int fd, int64_t total, int payload_bytes):
    """Writes `total` payload bytes as uwsgi frames, as many in a write as fit into 256 KiB."""
    if not 0 < payload_bytes < 65536:
        raise ValueError("a packet holds 1 to 65535 bytes")
    cdef int64_t joined = WRITE_BYTES // (payload_bytes + HEADER_BYTES)
    cdef int64_t frames = total // payload_bytes
    cdef int rest_bytes = total % payload_bytes
    cdef size_t frame_bytes = payload_bytes + HEADER_BYTES
    cdef uint8_t *data = <uint8_t *>malloc(WRITE_BYTES)
    cdef int64_t index
    cdef int result
    with nogil:
        for index in range(joined):
            put_frame(data + index * frame_bytes, payload_bytes)
        result = pour_pattern(fd, data, joined * frame_bytes, frames // joined)
        if result == 0:
            result = write_all(fd, data, (frames % joined) * frame_bytes)
        if result == 0 and rest_bytes > 0:
            result = write_all(fd, data, put_frame(data, rest_bytes))
        free(data)
    check(result)


cdef int64_t round_trip(int fd, const uint8_t *key, size_t size) noexcept nogil:
    """Returns the nanoseconds until the echo of one keystroke, 0 if the connection has ended, or -errno.

    It waits in poll(2), as every terminal client does, which has a keyboard to watch as well. In read(2) it would be
    woken by the router's read of the key too, since the kernel wakes it for room.
    """
    cdef uint8_t answer
    cdef pollfd waiting
    cdef int64_t start_ns = now_ns()
    cdef ssize_t result = write_all(fd, key, size)
    waiting.fd = fd
    waiting.events = POLLIN
    if result == 0 and poll(&waiting, 1, PATIENCE_MS) == 0:
        result = -ETIMEDOUT
    if result == 0:
        result = read_some(fd, &answer, 1)
    return now_ns() - start_ns if result > 0 else result


def echo(int fd, int count, int interval_us, bint framed):
    """Sends one byte at a time and waits for it to come back; returns the nanoseconds of each round trip."""
    cdef uint8_t key[5]
    cdef size_t size = put_frame(key, 1) if framed else 1
    cdef timespec pause
    cdef int64_t *times_ns = <int64_t *>calloc(count, sizeof(int64_t))
    cdef int index = 0
    key[size - 1] = b"k"
    pause.tv_sec = 0
    pause.tv_nsec = interval_us * 1000
    with nogil:
        while index < count:
            times_ns[index] = round_trip(fd, key, size)
            if times_ns[index] <= 0:
                break
            index += 1
            if interval_us > 0:
                nanosleep(&pause, NULL)
    times = [times_ns[number] for number in range(count)]
    free(times_ns)
    if index < count:
        check(times[index])
        raise EOFError("the session has ended")
    return times
