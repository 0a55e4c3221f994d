"""A session: a peer, a terminal, and the two channels between them.

Where a terminal is shared, the two sides are sessions of their own: one session has the terminal and no peer, and each
viewer is a session with a peer and no terminal. `Shared` joins them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memmove

from fastpty.relay.ring cimport Broadcast
from fastpty.relay.channel cimport BUFFER_BYTES, FLUSH_ALL, Buffer, Channel, channel_flush_buffer, channel_open
from fastpty.system.check cimport check
from fastpty.wire.uwsgi cimport (
    FRAME_COLUMNS,
    FRAME_IGNORED,
    FRAME_PARTIAL,
    FRAME_ROWS,
    FRAME_SIGNAL,
    FRAME_STDIN,
    Frame,
    FrameParser,
    frame_next,
)
from fastpty.relay.terminal cimport Terminal, terminal_resize, terminal_signal

cdef enum:
    PTY_SPLICE_BYTES = 4096   # a pty gives at most about that in one read; asking for more allocates pages for nothing
    ACTS_MOST = 16            # signals and window sizes that one turn passes on to a process group
    PTY_WRITE_BYTES = 1792    # of input in one turn: one of the tty's buffers, so that the program reads it meanwhile

# First in, first out; a task can also be taken from its middle.
cdef struct Queue:
    Task *head
    Task *tail
    uint32_t length

cdef enum Ending:
    ENDING_EXIT         # the terminal's output has ended
    ENDING_PEER_LEFT
    ENDING_IDLE
    ENDING_LIFETIME     # the session has lasted as long as it may
    ENDING_SILENT       # a uwsgi peer never said anything
    ENDING_HTTP         # a TCP peer is a web browser
    ENDING_TLS          # a TCP peer expects TLS
    ENDING_MEMORY       # there was none for a buffer, for a whole while
    ENDING_STOPPED      # the router stops, and the grace time is over

cdef enum Role:
    ROLE_PRIVATE        # a peer and a terminal (or only a peer, which is told why there is none)
    ROLE_PROGRAM        # the terminal of a Shared
    ROLE_VIEWER         # a peer of a Shared

cdef struct Peer:
    int fd                  # -1 when closed, or when there never was one
    bint framed             # speaks the uwsgi protocol
    bint is_tcp
    bint is_guarded         # its client may pass descriptors, which are not for this process to close
    bint is_probed          # for whether it has closed, and not only its half
    bint leaving            # it is closed as soon as that can be
    FrameParser parser
    uint64_t ignored_frames

# A channel and its place in the run queue.
cdef struct Task:
    Session *session
    Channel channel
    Task *previous
    Task *next
    Queue *queue            # that it waits in, or NULL
    uint64_t served_at      # the loop's count of transfers when this one was last served
    uint64_t last_transfer_bytes
    int64_t starved_ns      # since when there is no memory for its buffer; 0 = there is
    bint armed              # epoll watches the target for room

# Something to be tried again, ever more slowly.
cdef struct Retry:
    int64_t at_ns
    int64_t pause_ns

# A terminal that outlives its programs, and everybody who looks at it and types on it.
cdef struct Shared:
    Broadcast output
    uint64_t announced         # the position up to which the viewers were told to read
    uint64_t scrollback_bytes  # what a late-comer sees of what was before
    Session *program           # that runs on it at present, or NULL
    Session *viewers           # the first
    Queue waiting              # the viewers' inputs that wait for room in the terminal
    bint closing               # no more viewers can come, and no other program either
    bint ended                 # there will be no other program
    Retry restart

cdef struct Session:
    Role role
    uint32_t slot
    uint32_t generation     # tells a stale event from one for the slot's present owner
    uint64_t number
    bint refused            # there is no terminal, only a line for the peer
    bint over               # the terminal is closed; at most the peer lingers and the leader is awaited
    bint buried             # nothing is left; it is in the list of the done
    bint hung_up            # SIGHUP was sent, once
    Ending ending           # why it is over
    Session *next_done
    Peer peer
    Terminal terminal
    Task input              # peer → pty
    Task output             # pty → peer
    int64_t started_ns      # CLOCK_MONOTONIC, as all that follow; 0 = not set
    int64_t active_ns
    int64_t kill_at_ns
    int64_t forget_at_ns    # when a stop no longer waits for a killed leader that cannot be reaped
    int64_t linger_until_ns
    int64_t exit_by_ns      # until when a leader that has closed its terminal may exit by itself
    int64_t memory_at_ns    # when a channel that found no memory tries again
    int64_t probe_at_ns     # when a TCP peer that sends no more is asked whether it is still there
    Retry end_input
    Retry bury
    Retry reap              # of a leader that is dead, but its tracer's for now
    Shared *shared          # NULL for a private session
    Session *next_viewer
    Session *previous_viewer
    uint64_t position       # in the shared output, that this viewer reads from next
    uint64_t lagged_bytes   # of the shared output, that this viewer did not get


cdef inline void queue_push(Queue *queue, Task *task) noexcept nogil:
    check(task.queue == NULL, "a task waits in one queue")
    task.queue = queue
    task.next = NULL
    task.previous = queue.tail
    if queue.tail != NULL:
        queue.tail.next = task
    else:
        queue.head = task
    queue.tail = task
    queue.length += 1


cdef inline void queue_remove(Task *task) noexcept nogil:
    cdef Queue *queue = task.queue
    if queue == NULL:
        return
    if task.previous != NULL:
        task.previous.next = task.next
    else:
        queue.head = task.next
    if task.next != NULL:
        task.next.previous = task.previous
    else:
        queue.tail = task.previous
    task.queue = NULL
    check(queue.length > 0, "a queue is as long as it says")
    queue.length -= 1


cdef inline Task *queue_pop(Queue *queue) noexcept nogil:
    cdef Task *task = queue.head
    if task != NULL:
        queue_remove(task)
    return task


cdef inline void session_open(Session *session, int peer_fd, bint framed, int terminal_fd) noexcept nogil:
    """Connects the descriptors; peer_fd is -1 for a shared terminal, terminal_fd for a viewer of one and for a
    peer that is only told something.
    """
    session.peer.fd = peer_fd
    session.peer.framed = framed
    session.terminal.fd = terminal_fd
    session.input.session = session
    session.output.session = session
    channel_open(&session.input.channel, peer_fd, terminal_fd)
    channel_open(&session.output.channel, terminal_fd, peer_fd)
    session.input.channel.short_read_tells = True
    session.input.channel.short_splice_tells = False
    session.input.channel.splice_bytes = BUFFER_BYTES
    session.input.channel.flush_bytes = PTY_WRITE_BYTES
    session.output.channel.short_read_tells = True
    session.output.channel.short_splice_tells = True
    session.output.channel.splice_bytes = PTY_SPLICE_BYTES


cdef inline bint frame_is_window_change(const Frame *frame) noexcept nogil:
    return frame.kind == FRAME_ROWS or frame.kind == FRAME_COLUMNS


cdef inline void session_obey(Session *session, const Frame *frame) noexcept nogil:
    """Does what a frame without stdin bytes asks for, except for a new size, which the caller applies."""
    if frame.kind == FRAME_ROWS:
        session.terminal.size.ws_row = frame.value
    elif frame.kind == FRAME_COLUMNS:
        session.terminal.size.ws_col = frame.value
    elif frame.kind == FRAME_SIGNAL:
        terminal_signal(&session.terminal, frame.value)
    elif frame.kind == FRAME_IGNORED:
        session.peer.ignored_frames += 1


cdef inline void session_unwrap(Session *session) noexcept nogil:
    """Parses the frames in the input's buffer in place: their stdin bytes end up joined at its start.

    Rows and columns that follow each other are applied at once, so that the program sees one change. A signal is sent
    when it is met, after the stdin before it as far as the terminal takes that: it must reach a program that reads
    nothing. What goes to a whole process group takes longer the more processes there are, and everybody else waits: so
    after some of that the rest is for the next turn.
    """
    cdef Buffer *buffer = session.input.channel.buffer
    cdef bint resized = False
    cdef int acts = 0
    cdef Frame frame
    while buffer.parsed < buffer.filled and acts < ACTS_MOST:
        buffer.parsed += <uint32_t>frame_next(&session.peer.parser, buffer.data + buffer.parsed,
                                              buffer.filled - buffer.parsed, &frame)
        if resized and frame.kind != FRAME_PARTIAL and not frame_is_window_change(&frame):
            terminal_resize(&session.terminal)
            resized = False
            acts += 1
        if frame.kind == FRAME_STDIN:
            check(buffer.end + frame.size <= buffer.parsed, "gathered stdin stays behind what is parsed")
            memmove(buffer.data + buffer.end, frame.payload, frame.size)
            buffer.end += frame.size
            continue
        if frame.kind == FRAME_SIGNAL:
            channel_flush_buffer(&session.input.channel, FLUSH_ALL)
            acts += 1
        session_obey(session, &frame)
        resized = resized or frame_is_window_change(&frame)
    if resized:
        terminal_resize(&session.terminal)


cdef inline void session_begin_unwrap(Session *session) noexcept nogil:
    """Takes what was read into the input's buffer for frames, and parses the first of them."""
    cdef Buffer *buffer = session.input.channel.buffer
    buffer.parsed = buffer.start
    buffer.filled = buffer.end
    buffer.end = buffer.start
    session_unwrap(session)
