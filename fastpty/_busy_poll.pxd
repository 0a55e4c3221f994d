"""Waiting for the answer to a keystroke without going to sleep (`--busy-poll`).

Most keys are answered, by an echo, sooner than this process has gone to sleep and been woken again. So for a while
after a key the loop looks for events and lets others have the CPU (sched_yield(2)) by turns. That is a bet. It is lost
if nothing has come in time: the program answers late, or somebody else needs the CPU, and then whoever yields waits for
his whole time slice. After each loss in a row twice as many keys are let go by before the next bet.
"""

from libc.stdint cimport int64_t, uint32_t

from fastpty._linux cimport CLOCK_MONOTONIC, clock_gettime, epoll_event, epoll_wait, sched_yield, timespec

cdef enum:
    LOSSES_MOST = 8                    # that are counted: at the worst one bet in 256 keys

cdef struct BusyPoll:
    int64_t limit_ns                   # that one bet lasts; 0 = none are made
    int64_t until_ns                   # of the present bet; 0 = there is none
    uint32_t losses                    # in a row
    uint32_t pass_by                   # so many keys before the next bet


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline void busy_poll_key(BusyPoll *poll, int64_t now_ns) noexcept nogil:
    """A key was passed on to a program."""
    if poll.limit_ns == 0:
        return
    if poll.pass_by > 0:
        poll.pass_by -= 1
    else:
        poll.until_ns = now_ns + poll.limit_ns


cdef inline int busy_poll_wait(BusyPoll *poll, int epoll_fd, epoll_event *events, int most) noexcept nogil:
    """What epoll_wait(2) returns: 0 when the bet is lost."""
    cdef int64_t until_ns = poll.until_ns
    cdef int count = 0
    poll.until_ns = 0
    while count == 0 and clock_ns() < until_ns:
        sched_yield()
        count = epoll_wait(epoll_fd, events, most, 0)
    if clock_ns() < until_ns:
        poll.losses = 0
    elif poll.losses < LOSSES_MOST:
        poll.losses += 1
    poll.pass_by = (1 << poll.losses) - 1
    return count
