"""The loop: epoll, the two run queues and the next deadline.

Every descriptor is registered with epoll for input, edge-triggered. Each channel remembers that its source is readable
and its target writable until a system call shows otherwise. A channel that can go on waits in a run queue: `fresh` for
those that were quiet, `bulk` for streams. Each turn serves all of `fresh` and one channel of `bulk`, so a keystroke
waits for at most one transfer of a stream. `loop_watch` is the only caller of epoll_ctl(2).
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.busy_poll cimport BusyPoll, busy_poll_wait, clock_ns
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, Channel, channel_has_frames, channel_holds, channel_may_write,
)
from fastpty.relay.errands cimport Errands
from fastpty.relay.pool cimport Pool
from fastpty.relay.queue cimport queue_push
from fastpty.relay.state cimport Queue, RequestShare, Retry, Session, Task
from fastpty.system.check cimport check
from fastpty.system.linux cimport (
    EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, SFD_CLOEXEC, SFD_NONBLOCK,
    SIG_BLOCK, epoll_ctl, epoll_event, epoll_wait, pthread_sigmask, signalfd, sigset_t,
)

cdef enum:
    MILLISECOND_NS = 1000000
    SLEEP_MOST_MS = 3600000            # epoll_wait(2) takes an int of milliseconds: at most 24 days
    RETRY_FIRST_MS = 20                # the first pause before something is tried again
    RETRY_SLOWEST_MS = 5000            # the longest
    DEFER_MS = 20                      # the log of a session's start waits, so that its program gets the CPU first
    EVENTS_MOST = 1024                 # the most events that a turn can take from epoll
    REQUEST_SHARES = 512               # the most owners of long STARTs at one time (fastpty/relay/request.pxd)
    STREAM_FROM_BYTES = 512            # a stream moved at least this many bytes in its last transfer;
    STREAM_GAP_TRANSFERS = 8           # since then, at most two transfers for each stream and this many took place

# What an event is about: the top byte of epoll_event.data, above the session's generation and slot.
cdef enum About:
    ABOUT_PEER
    ABOUT_TERMINAL
    ABOUT_LEADER
    ABOUT_LISTENER
    ABOUT_SIGNALS
    ABOUT_ERRANDS
    ABOUT_START                        # a child that has not executed its program yet
    ABOUT_INPUT                        # the standard input of a program that has streams
    ABOUT_ERRORS                       # its standard error

# Shared memory in which the supervisor sees whether the loop is stuck or idle.
cdef struct Heartbeat:
    int64_t turn_since_ns              # when the present turn began; 0 while the loop waits
    int64_t sessions                   # how many there are now
    int64_t accepted                   # how many there were in all

# The sums over all sessions that were released.
cdef struct Totals:
    uint64_t bytes_in
    uint64_t bytes_out
    uint64_t ignored_frames

cdef struct Loop:
    int epoll_fd
    Session **sessions                 # by slot; NULL = free
    uint32_t slots
    uint32_t first_free_slot           # no slot below it is free
    uint32_t generations               # the generation of the newest session
    uint32_t live                      # how many sessions there are
    uint32_t refused                   # how many of these were refused
    uint64_t *last_number              # the number of the newest session; may be shared with other processes
    uint64_t own_number                # what last_number points to unless the counter is shared
    Queue unfinished                   # sessions of the extension whose long START is not whole yet, the oldest first
    Queue requested                    # those whose START is whole, for Handler.start_wanted
    int64_t request_bytes              # counted memory for START, of all sessions (fastpty/relay/request.pxd)
    RequestShare request_shares[REQUEST_SHARES]
    Session *done                      # sessions that have ended and are not reported yet
    Queue fresh                        # channels that were quiet
    Queue bulk                         # streams
    Pool pool
    bint splice                        # use splice(2) for streams
    bint stopping
    int64_t idle_ns                    # limits of a session; 0 = no limit
    int64_t lifetime_ns
    int64_t greeting_ns                # for the first byte of a uwsgi client
    int64_t grace_ns                   # between SIGHUP and SIGKILL
    int64_t now_ns                     # CLOCK_MONOTONIC at the start of the turn
    int64_t next_deadline_ns           # the earliest deadline, or a time before it; 0 = there is none
    int64_t deferred_until_ns          # when the handler's caught_up is called; 0 = not at all
    Totals ended
    uint64_t transfers                 # steps of channels, in all
    uint64_t wakeups                   # returns of epoll_wait(2), in all
    int events_most                    # the most events that a turn takes, 1 to EVENTS_MOST
    BusyPoll busy_poll
    Errands errands
    int mark_fd                        # see fastpty/relay/notice.pxd; -1 = none
    bint leaves_open                   # some descriptors stay open, because no errand process took them
    Heartbeat *heartbeat


cdef inline uint64_t loop_token(About about, uint32_t generation, uint32_t slot) noexcept nogil:
    """Returns the epoll_event.data for events of this kind about this session."""
    return (<uint64_t>about << 56) | (<uint64_t>generation << 32) | slot


cdef inline Session *loop_find_session(const Loop *loop, uint64_t about) noexcept nogil:
    """Returns the session that an event is about, or NULL if that session was released, even if its slot is in use."""
    cdef uint32_t slot = <uint32_t>about
    cdef Session *session = loop.sessions[slot] if slot < loop.slots else NULL
    if session != NULL and session.generation == ((about >> 32) & 0xFFFFFF):
        return session
    return NULL


cdef inline int loop_watch(Loop *loop, int operation, int fd, uint32_t events, uint64_t about) noexcept nogil:
    """Calls epoll_ctl(2). Returns 0, or -1 with errno set."""
    cdef epoll_event event
    event.events = events
    event.data.u64 = about
    return epoll_ctl(loop.epoll_fd, operation, fd, &event)


cdef inline uint32_t loop_events(About about) noexcept nogil:
    """Returns the events that a descriptor of a session is always watched for."""
    if about == ABOUT_PEER:
        return EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET
    return EPOLLET if about == ABOUT_INPUT else EPOLLIN | EPOLLET


cdef inline int loop_watch_part(Loop *loop, const Session *session, int fd, About about) noexcept nogil:
    return loop_watch(loop, EPOLL_CTL_ADD, fd, loop_events(about),
                      loop_token(about, session.generation, session.slot))


cdef inline int loop_watch_session(Loop *loop, Session *session) noexcept nogil:
    """Registers the session's connection, terminal and leader. Returns 0, or -1 with errno set."""
    if session.peer.fd >= 0 and loop_watch_part(loop, session, session.peer.fd, ABOUT_PEER) < 0:
        return -1
    if session.terminal.fd < 0:
        return 0
    if loop_watch_part(loop, session, session.terminal.fd, ABOUT_TERMINAL) < 0:
        return -1
    return loop_watch_part(loop, session, session.terminal.pidfd, ABOUT_LEADER)


cdef inline int loop_watch_signals(Loop *loop, const sigset_t *signals) noexcept nogil:
    """Blocks these signals and watches a new signalfd for them. Returns the signalfd, or -1 with errno set."""
    cdef int fd
    pthread_sigmask(SIG_BLOCK, signals, NULL)
    fd = signalfd(-1, signals, SFD_NONBLOCK | SFD_CLOEXEC)
    if fd >= 0:
        loop_watch(loop, EPOLL_CTL_ADD, fd, EPOLLIN, loop_token(ABOUT_SIGNALS, 0, 0))
    return fd


cdef inline void loop_watch_errands(Loop *loop, int queue) noexcept nogil:
    """Uses this socket for errands from now on, and watches it for messages."""
    loop.errands.queue = queue
    loop_watch(loop, EPOLL_CTL_ADD, queue, EPOLLIN | EPOLLET, loop_token(ABOUT_ERRANDS, 0, 0))


cdef inline void loop_watch_room(Loop *loop, Task *task, bint wanted) noexcept nogil:
    """Starts or stops watching the channel's target for room. Starting also reports room that already exists.

    Room is watched only on demand: otherwise epoll would wake the router whenever a client or program has read
    something, which is one more wake-up for each keystroke.
    """
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef About about = ABOUT_PEER
    cdef uint32_t events
    if task == &session.input:
        about = ABOUT_INPUT if session.terminal.has_streams else ABOUT_TERMINAL
    else:
        task = &session.output   # all output waits for the same room
    events = loop_events(about)
    if task.room_watched == wanted:
        return
    if wanted:
        events |= EPOLLOUT
    if loop_watch(loop, EPOLL_CTL_MOD, task.channel.target, events,
                  loop_token(about, session.generation, session.slot)) == 0:
        task.room_watched = wanted
    elif wanted:
        # epoll will not report the room. The channel tries to write again soon, as after a lack of memory.
        channel.writable = True
        loop_set_deadline(loop, &session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)


cdef inline bint loop_runnable(const Task *task) noexcept nogil:
    """True if a step of the channel could move something now."""
    cdef const Channel *channel = &task.channel
    if task.session.finished and task.session.peer.leaving:
        return False
    if task.session.finished and task == &task.session.input:
        return channel.readable
    if channel_holds(channel):
        if channel_may_write(channel) or channel_has_frames(channel):
            return True
        return channel.reads_ahead and channel.state == CHANNEL_OPEN and channel.readable
    if task.session.finished:
        return False
    return channel.state == CHANNEL_DRAINING or (channel.state == CHANNEL_OPEN and channel.readable)


cdef inline bint loop_is_streaming(const Loop *loop, const Task *task) noexcept nogil:
    """True if the channel moved many bytes recently.

    "Recently" is counted in transfers, not in time. A person who types fast is served as often as a stream, but moves
    few bytes.
    """
    if task.last_transfer_bytes < STREAM_FROM_BYTES:
        return False
    return loop.transfers - task.served_at <= 2 * loop.bulk.length + STREAM_GAP_TRANSFERS


cdef inline void loop_wake(Loop *loop, Task *task) noexcept nogil:
    """Puts the channel into a run queue if it can go on and is in no queue."""
    if task.queue == NULL and loop_runnable(task):
        queue_push(&loop.bulk if loop_is_streaming(loop, task) else &loop.fresh, task)


cdef inline void loop_source_ready(Loop *loop, Task *task, bint hung_up) noexcept nogil:
    """Notes that the channel's source can be read. hung_up: the source has hung up, so it is read to its end."""
    task.channel.readable = True
    task.channel.hung_up = task.channel.hung_up or hung_up
    loop_wake(loop, task)


cdef inline void loop_target_ready(Loop *loop, Task *task) noexcept nogil:
    """Notes that the channel's target has room."""
    if task.session.finished and not channel_holds(&task.channel):
        return
    task.channel.writable = True
    if not channel_holds(&task.channel) and (task == &task.session.input or not loop_waits_for_peer(task.session)):
        loop_watch_room(loop, task, False)
    loop_wake(loop, task)


cdef inline bint loop_waits_for_peer(const Session *session) noexcept nogil:
    """True if a program has streams, and output of one of them waits for room in the connection."""
    return session.terminal.has_streams and (
        channel_holds(&session.output.channel) or channel_holds(&session.extension.errors.channel))


cdef inline void loop_set_deadline(Loop *loop, int64_t *deadline_ns, int64_t after_ns) noexcept nogil:
    """Sets a deadline that comes `after_ns` from now."""
    deadline_ns[0] = loop.now_ns + after_ns
    loop_note_deadline(loop, deadline_ns[0])


cdef inline void loop_retry(Loop *loop, Retry *retry) noexcept nogil:
    """Sets the time of the next try: after RETRY_FIRST_MS at first, then twice as long each time."""
    if retry.pause_ns == 0:
        retry.pause_ns = RETRY_FIRST_MS * <int64_t>MILLISECOND_NS
    elif retry.pause_ns < RETRY_SLOWEST_MS * <int64_t>MILLISECOND_NS:
        retry.pause_ns *= 2
    loop_set_deadline(loop, &retry.at_ns, retry.pause_ns)


cdef inline void loop_note_deadline(Loop *loop, int64_t deadline_ns) noexcept nogil:
    """Makes the loop wake up for this deadline; 0 = there is none."""
    if deadline_ns != 0 and (loop.next_deadline_ns == 0 or deadline_ns < loop.next_deadline_ns):
        loop.next_deadline_ns = deadline_ns


cdef inline bint loop_due(Loop *loop, int64_t *deadline_ns) noexcept nogil:
    """Returns True and clears the deadline if it has come. Otherwise makes the loop wake up for it."""
    if deadline_ns[0] != 0 and deadline_ns[0] <= loop.now_ns:
        deadline_ns[0] = 0
        return True
    loop_note_deadline(loop, deadline_ns[0])
    return False


cdef inline void loop_defer_reports(Loop *loop) noexcept nogil:
    """Schedules a call of the handler's caught_up in DEFER_MS, unless one is scheduled."""
    if loop.deferred_until_ns == 0:
        loop.deferred_until_ns = loop.now_ns + DEFER_MS * <int64_t>MILLISECOND_NS


cdef inline int loop_timeout_ms(const Loop *loop) noexcept nogil:
    """Returns how long the loop may sleep; -1 = until the next event."""
    cdef int64_t deadline_ns = loop.next_deadline_ns
    cdef int64_t left_ns
    if loop.fresh.length + loop.bulk.length + loop.requested.length > 0:
        return 0
    if deadline_ns == 0 or 0 < loop.deferred_until_ns < deadline_ns:
        deadline_ns = loop.deferred_until_ns
    if deadline_ns == 0:
        return -1
    left_ns = deadline_ns - clock_ns()
    if left_ns <= 0:
        return 0
    return <int>min(left_ns / MILLISECOND_NS + 1, <int64_t>SLEEP_MOST_MS)


cdef inline int loop_wait(Loop *loop, epoll_event *events) noexcept nogil:
    """Waits for events. Returns how many there are, at most `events_most`, or -errno."""
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
    """Checks, in a checked build, that nothing is lent, queued or unreported after the last session."""
    check(loop.live == 0 and loop.done == NULL, "no session is left")
    check(loop.fresh.length + loop.bulk.length + loop.requested.length == 0, "nothing waits to be served")
    check(loop.request_bytes == 0 and loop.unfinished.length == 0, "the memory of every START is freed")
    check(loop.pool.lent_buffers == 0, "every buffer has come back")
    check(loop.pool.lent_pipes == 0, "every pipe has come back")
