"""Waiting for what comes next without going to sleep (`--busy-poll`).

The answer to a key, and the next piece of a stream, mostly come sooner than this process has gone to sleep and been
woken again. So when one is expected the loop looks for events and lets others have the CPU (sched_yield(2)) by turns,
for a short while. That is a bet. It is lost if nothing has come in time: the program is slow, or somebody else needs
the CPU, and then whoever yields waits for his whole time slice. After a loss no bet is made for a while, twice as long
after each further one, half as long after one that was won.
"""

from libc.stdint cimport int64_t

from fastpty.system.linux cimport CLOCK_MONOTONIC, clock_gettime, epoll_event, epoll_wait, sched_yield, timespec

cdef enum:
    BUSY_LATE_NS = 500000              # so long after a bet's end: somebody else has had the CPU
    BUSY_PAUSE_NS = 1000000            # after a loss, at least
    BUSY_PAUSE_LATE_NS = 10000000      # after a late one
    BUSY_PAUSE_MOST_NS = 1000000000

cdef struct BusyPoll:
    int64_t limit_ns                   # the longest bet; 0 = none are made
    int64_t expected_ns                # within this time something will come; 0 = nothing is expected
    int64_t pause_ns                   # after the last loss; 0 = bets are won
    int64_t resume_ns                  # no bet before this


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline bint busy_poll_pays(const BusyPoll *poll) noexcept nogil:
    """Whether bets are made, and not mostly lost."""
    return poll.limit_ns > 0 and poll.pause_ns < BUSY_PAUSE_MOST_NS / 2


cdef inline void busy_poll_expect_answer(BusyPoll *poll) noexcept nogil:
    """A key was passed on to a program."""
    poll.expected_ns = poll.limit_ns


cdef inline void busy_poll_expect_more(BusyPoll *poll) noexcept nogil:
    """A piece of a stream has come. What comes later than soon is no hurry: it only would cost CPU to wait for it."""
    poll.expected_ns = poll.limit_ns / 2


cdef inline void busy_poll_settle(BusyPoll *poll, int64_t now_ns, int64_t late_ns) noexcept nogil:
    if late_ns < 0:
        poll.pause_ns = poll.pause_ns / 2 if poll.pause_ns > BUSY_PAUSE_NS else 0
        return
    poll.pause_ns = max(2 * poll.pause_ns, <int64_t>(BUSY_PAUSE_LATE_NS if late_ns > BUSY_LATE_NS else BUSY_PAUSE_NS))
    poll.pause_ns = min(poll.pause_ns, <int64_t>BUSY_PAUSE_MOST_NS)
    poll.resume_ns = now_ns + poll.pause_ns


cdef inline int busy_poll_wait(BusyPoll *poll, int epoll_fd, epoll_event *events, int most) noexcept nogil:
    """What epoll_wait(2) returns: 0 if there is no bet, or it is lost."""
    cdef int64_t now_ns = clock_ns()
    cdef int64_t until_ns = now_ns + poll.expected_ns
    cdef int count = 0
    poll.expected_ns = 0
    if now_ns < poll.resume_ns:
        return 0
    while count == 0 and now_ns < until_ns:
        sched_yield()
        count = epoll_wait(epoll_fd, events, most, 0)
        now_ns = clock_ns()
    busy_poll_settle(poll, now_ns, now_ns - until_ns)
    return count
