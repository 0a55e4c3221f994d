"""Busy polling (`--busy-poll`): waits for the next event for a short time without sleeping.

The answer to a key, or the next piece of a stream, usually comes sooner than a process can go to sleep and wake up
again. So when the loop expects one, it calls epoll_wait(2) and sched_yield(2) in turn. Each such wait is a bet. The
loop loses it if no event comes in time: the program is slow, or another process needs the CPU and uses its whole time
slice after a yield. After a lost bet the loop pauses betting. Each further loss doubles the pause, each win halves it.
"""

from libc.stdint cimport int64_t

from fastpty.system.linux cimport CLOCK_MONOTONIC, clock_gettime, epoll_event, epoll_wait, sched_yield, timespec

cdef enum:
    BUSY_LATE_NS = 500000              # a bet that ends later than this was delayed by another process
    BUSY_PAUSE_NS = 1000000            # the shortest pause after a loss
    BUSY_PAUSE_LATE_NS = 10000000      # the shortest pause after a late loss
    BUSY_PAUSE_MOST_NS = 1000000000    # the longest pause

cdef struct BusyPoll:
    int64_t limit_ns                   # how long a bet lasts at most; 0 = busy polling is off
    int64_t expected_ns                # an event is expected within this time; 0 = none is expected
    int64_t pause_ns                   # the present pause after a loss; 0 = the last bets were won
    int64_t resume_ns                  # no bet before this time (CLOCK_MONOTONIC)


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline bint busy_poll_pays(const BusyPoll *busy) noexcept nogil:
    """True if busy polling is on and wins often enough."""
    return busy.limit_ns > 0 and busy.pause_ns < BUSY_PAUSE_MOST_NS / 2


cdef inline void busy_poll_expect_answer(BusyPoll *busy) noexcept nogil:
    """To be called after a key was written to a terminal: the program will probably echo it."""
    busy.expected_ns = busy.limit_ns


cdef inline void busy_poll_expect_more(BusyPoll *busy) noexcept nogil:
    """To be called after a piece of a stream was read. Waits half as long: a later piece is not urgent."""
    busy.expected_ns = busy.limit_ns / 2


cdef inline void busy_poll_settle(BusyPoll *busy, int64_t now_ns, int64_t late_ns) noexcept nogil:
    """Sets the next pause. late_ns: how long after the bet's end it is now; negative = the bet was won."""
    if late_ns < 0:
        busy.pause_ns = busy.pause_ns / 2 if busy.pause_ns > BUSY_PAUSE_NS else 0
        return
    busy.pause_ns = max(2 * busy.pause_ns, <int64_t>(BUSY_PAUSE_LATE_NS if late_ns > BUSY_LATE_NS else BUSY_PAUSE_NS))
    busy.pause_ns = min(busy.pause_ns, <int64_t>BUSY_PAUSE_MOST_NS)
    busy.resume_ns = now_ns + busy.pause_ns


cdef inline int busy_poll_wait(BusyPoll *busy, int epoll_fd, epoll_event *events, int most) noexcept nogil:
    """Bets, and returns the result of epoll_wait(2). Returns 0 if it does not bet or loses."""
    cdef int64_t now_ns = clock_ns()
    cdef int64_t until_ns = now_ns + busy.expected_ns
    cdef int count = 0
    busy.expected_ns = 0
    if now_ns < busy.resume_ns:
        return 0
    while count == 0 and now_ns < until_ns:
        sched_yield()
        count = epoll_wait(epoll_fd, events, most, 0)
        now_ns = clock_ns()
    busy_poll_settle(busy, now_ns, now_ns - until_ns)
    return count
