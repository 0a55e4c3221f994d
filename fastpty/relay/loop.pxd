"""The loop: what it knows, epoll, the run queue and the deadlines.

Every descriptor is registered edge-triggered for input, and the channels keep what the loop knows: readable and
writable until the kernel says otherwise. What can go on waits in one of two queues. `fresh` holds channels that have
been quiet: each turn serves them all. `bulk` holds those that stream: each turn serves one. So a keystroke waits for
one transfer of somebody's flood at the most. `loop_watch` is the only caller of epoll_ctl.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.busy_poll cimport BusyPoll, busy_poll_wait, clock_ns
from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_OPEN, Channel, channel_has_frames, channel_holds
from fastpty.relay.errands cimport Errands
from fastpty.relay.pool cimport Pool
from fastpty.relay.queue cimport queue_push
from fastpty.relay.state cimport Queue, Retry, Session, Task
from fastpty.system.check cimport check
from fastpty.system.linux cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, SFD_CLOEXEC, SFD_NONBLOCK,
    SIG_BLOCK, epoll_ctl, epoll_event, epoll_wait, pthread_sigmask, signalfd, sigset_t,
)

cdef enum:
    MILLISECOND_NS = 1000000
    SLEEP_MOST_MS = 3600000            # an int of milliseconds holds 24 days only
    RETRY_FIRST_MS = 20
    RETRY_SLOWEST_MS = 5000
    PUT_OFF_MS = 20                    # what of a session's start can wait until its program has had the CPU
    EVENTS_MOST = 1024                 # that can be taken from epoll in one turn, and
    EVENTS_USUAL = 64                  # that are
    STREAM_FROM_BYTES = 512            # what a channel that streams has moved at least, the last time
    STREAM_GAP_TRANSFERS = 8           # and how soon, beyond its fair share, it is served again

# What an event is about: in the top byte of epoll's 64 bits, above the session's generation and slot.
cdef enum About:
    ABOUT_PEER
    ABOUT_TERMINAL
    ABOUT_LEADER
    ABOUT_LISTENER
    ABOUT_SIGNALS
    ABOUT_ERRANDS

# What another process may look at: whether the loop is stuck, whether it is idle.
cdef struct Heartbeat:
    int64_t turn_since_ns              # when the turn that goes on has begun; 0 between turns
    int64_t sessions
    int64_t accepted

# Of all sessions that have ended.
cdef struct Totals:
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t ignored_frames

cdef struct Loop:
    int epoll_fd
    Session **sessions                 # by slot; NULL = free
    uint32_t slots
    uint32_t first_free_slot           # none below it is free
    uint32_t generations
    uint32_t live
    uint32_t refused                   # of the live, how many are only told why
    uint64_t numbers                   # sessions begun, and programs that did not start
    Session *done                      # ended, unreported
    Queue fresh
    Queue bulk
    Pool pool
    bint splice
    bint stopping
    int64_t idle_ns                    # 0 = no limit, as with the next two
    int64_t lifetime_ns
    int64_t greeting_ns                # for the first byte of a uwsgi peer
    int64_t grace_ns                   # between SIGHUP and SIGKILL
    int64_t now_ns                     # CLOCK_MONOTONIC, once a turn
    int64_t next_deadline_ns           # no session's deadline comes before it; 0 = there is none
    int64_t put_off_until_ns           # when the owner does what it has put off; 0 = nothing
    Totals ended
    uint64_t transfers
    uint64_t wakeups
    int events_most                    # to be taken in one turn, 1 to EVENTS_MOST
    BusyPoll busy_poll
    Errands errands
    bint leaves_open                   # descriptors to the process's end: nobody took them to close them
    Heartbeat *heartbeat


cdef inline uint64_t loop_token(About about, uint32_t generation, uint32_t slot) noexcept nogil:
    return (<uint64_t>about << 56) | (<uint64_t>generation << 32) | slot


cdef inline Session *loop_find_session(const Loop *loop, uint64_t about) noexcept nogil:
    """The session that an event is about; NULL if it is gone, also when another has its slot."""
    cdef uint32_t slot = <uint32_t>about
    cdef Session *session = loop.sessions[slot] if slot < loop.slots else NULL
    if session != NULL and session.generation == ((about >> 32) & 0xFFFFFF):
        return session
    return NULL


cdef inline int loop_watch(Loop *loop, int operation, int fd, uint32_t events, uint64_t about) noexcept nogil:
    """0, or -1 with errno set."""
    cdef epoll_event event
    event.events = events
    event.data.u64 = about
    return epoll_ctl(loop.epoll_fd, operation, fd, &event)


cdef inline uint32_t loop_events(About about) noexcept nogil:
    """What is watched for all the time."""
    if about == ABOUT_PEER:
        return EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET
    return EPOLLIN | EPOLLET


cdef inline int loop_watch_part(Loop *loop, const Session *session, int fd, About about) noexcept nogil:
    return loop_watch(loop, EPOLL_CTL_ADD, fd, loop_events(about),
                      loop_token(about, session.generation, session.slot))


cdef inline int loop_watch_session(Loop *loop, Session *session) noexcept nogil:
    """Registers what a session has: peer, terminal, leader. 0, or -1 with errno set."""
    if session.peer.fd >= 0 and loop_watch_part(loop, session, session.peer.fd, ABOUT_PEER) < 0:
        return -1
    if session.terminal.fd < 0:
        return 0
    if loop_watch_part(loop, session, session.terminal.fd, ABOUT_TERMINAL) < 0:
        return -1
    return loop_watch_part(loop, session, session.terminal.pidfd, ABOUT_LEADER)


cdef inline int loop_watch_signals(Loop *loop, const sigset_t *signals) noexcept nogil:
    """Blocks signals for the process and has them arrive at a signalfd: this, or -1 with errno set."""
    cdef int fd
    pthread_sigmask(SIG_BLOCK, signals, NULL)
    fd = signalfd(-1, signals, SFD_NONBLOCK | SFD_CLOEXEC)
    if fd >= 0:
        loop_watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN, loop_token(ABOUT_SIGNALS, 0, 0))
    return fd


cdef inline void loop_watch_errands(Loop *loop, int queue) noexcept nogil:
    """Sends errands into this socket from now on."""
    loop.errands.queue = queue
    loop_watch(loop, EPOLL_CTL_ADD, queue, EPOLLIN | EPOLLET, loop_token(ABOUT_ERRANDS, 0, 0))


cdef inline void loop_watch_room(Loop *loop, Task *task, bint armed) noexcept nogil:
    """Waits for room in the channel's target, or no longer. Arming also reports room that is there already.

    Room is not watched for all the time, since epoll would then wake this process whenever a peer or a program has
    read something: once more for each keystroke.
    """
    cdef Session *session = task.session
    cdef bint is_input = task == &session.input
    cdef About about = ABOUT_TERMINAL if is_input else ABOUT_PEER
    cdef uint32_t events = loop_events(about)
    if task.armed == armed:
        return
    task.armed = armed
    if armed:
        events |= EPOLLOUT
    loop_watch(loop, EPOLL_CTL_MOD, task.channel.target, events, loop_token(about, session.generation, session.slot))


cdef inline bint loop_runnable(const Task *task) noexcept nogil:
    cdef const Channel *channel = &task.channel
    if task.session.over:
        return task == &task.session.input and not task.session.peer.leaving and channel.readable
    if channel_holds(channel):
        return channel.writable or channel_has_frames(channel)
    return channel.state == CHANNEL_DRAINING or (channel.state == CHANNEL_OPEN and channel.readable)


cdef inline bint loop_streams(const Loop *loop, const Task *task) noexcept nogil:
    """Whether the channel moved much just now: then it is one of the flood.

    Just now is counted in transfers, not in time. Somebody who types fast beside a few floods is served as often, but
    moves little.
    """
    if task.last_transfer_bytes < STREAM_FROM_BYTES:
        return False
    return loop.transfers - task.served_at <= 2 * loop.bulk.length + STREAM_GAP_TRANSFERS


cdef inline void loop_wake(Loop *loop, Task *task) noexcept nogil:
    if task.queue == NULL and loop_runnable(task):
        queue_push(&loop.bulk if loop_streams(loop, task) else &loop.fresh, task)


cdef inline void loop_source_ready(Loop *loop, Task *task, bint hung_up) noexcept nogil:
    task.channel.readable = True
    task.channel.eager = task.channel.eager or hung_up
    loop_wake(loop, task)


cdef inline void loop_target_ready(Loop *loop, Task *task) noexcept nogil:
    if task.session.over:
        return
    task.channel.writable = True
    if not channel_holds(&task.channel):
        loop_watch_room(loop, task, False)
    loop_wake(loop, task)


cdef inline void loop_arm(Loop *loop, int64_t *deadline_ns, int64_t after_ns) noexcept nogil:
    deadline_ns[0] = loop.now_ns + after_ns
    loop_expect(loop, deadline_ns[0])


cdef inline void loop_retry(Loop *loop, Retry *retry) noexcept nogil:
    """Sets the next time to try: after RETRY_FIRST_MS, then twice as long each time, up to RETRY_SLOWEST_MS."""
    if retry.pause_ns == 0:
        retry.pause_ns = RETRY_FIRST_MS * <int64_t>MILLISECOND_NS
    elif retry.pause_ns < RETRY_SLOWEST_MS * <int64_t>MILLISECOND_NS:
        retry.pause_ns *= 2
    loop_arm(loop, &retry.at_ns, retry.pause_ns)


cdef inline void loop_expect(Loop *loop, int64_t deadline_ns) noexcept nogil:
    if deadline_ns != 0 and (loop.next_deadline_ns == 0 or deadline_ns < loop.next_deadline_ns):
        loop.next_deadline_ns = deadline_ns


cdef inline bint loop_due(Loop *loop, int64_t *deadline_ns) noexcept nogil:
    """Whether a deadline has come: then it is cleared. One that has not is expected."""
    if deadline_ns[0] != 0 and deadline_ns[0] <= loop.now_ns:
        deadline_ns[0] = 0
        return True
    loop_expect(loop, deadline_ns[0])
    return False


cdef inline void loop_put_off(Loop *loop) noexcept nogil:
    if loop.put_off_until_ns == 0:
        loop.put_off_until_ns = loop.now_ns + PUT_OFF_MS * <int64_t>MILLISECOND_NS


cdef inline int loop_timeout_ms(const Loop *loop) noexcept nogil:
    cdef int64_t deadline_ns = loop.next_deadline_ns
    cdef int64_t left_ns
    if loop.fresh.length + loop.bulk.length > 0:
        return 0
    if deadline_ns == 0 or 0 < loop.put_off_until_ns < deadline_ns:
        deadline_ns = loop.put_off_until_ns
    if deadline_ns == 0:
        return -1
    left_ns = deadline_ns - clock_ns()
    if left_ns <= 0:
        return 0
    return <int>min(left_ns / MILLISECOND_NS + 1, <int64_t>SLEEP_MOST_MS)


cdef inline int loop_wait(Loop *loop, epoll_event *events) noexcept nogil:
    """The number of events, 0 to events_most, or -errno."""
    cdef int timeout_ms = loop_timeout_ms(loop)
    cdef int count = 0
    if timeout_ms != 0 and loop.busy_poll.expected_ns > 0:
        count = busy_poll_wait(&loop.busy_poll, loop.epoll_fd, events, loop.events_most)
        timeout_ms = loop_timeout_ms(loop)
    if count == 0:
        count = epoll_wait(loop.epoll_fd, events, loop.events_most, timeout_ms)
    if count < 0:
        return -errno
    loop.wakeups += 1
    loop.now_ns = clock_ns()
    return count


cdef inline void loop_check_returned(const Loop *loop) noexcept nogil:
    """In a checked build: with no session left, nothing is lent, queued or unreported."""
    check(loop.live == 0 and loop.done == NULL, "no session is left")
    check(loop.fresh.length == 0 and loop.bulk.length == 0, "nothing waits to be served")
    check(loop.pool.lent_buffers == 0, "every buffer has come back")
    check(loop.pool.lent_pipes == 0, "every pipe has come back")
