"""A session: a peer, a terminal, and the two channels between them.

Where a terminal is shared, the two sides are sessions of their own: one session has the terminal and no peer, and each
viewer is a session with a peer and no terminal. `Shared` joins them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.channel cimport Channel
from fastpty.relay.ring cimport Ring
from fastpty.relay.terminal cimport Terminal
from fastpty.wire.uwsgi cimport FrameParser

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
    Ring output
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


cdef inline const char *ending_name(Ending ending) noexcept nogil:
    """As it is said in the log."""
    if ending == ENDING_EXIT:
        return "exit"
    if ending == ENDING_PEER_LEFT:
        return "client left"
    if ending == ENDING_IDLE:
        return "idle"
    if ending == ENDING_LIFETIME:
        return "lifetime over"
    if ending == ENDING_SILENT:
        return "never said anything"
    if ending == ENDING_HTTP:
        return "an HTTP request"
    if ending == ENDING_TLS:
        return "a TLS hello"
    if ending == ENDING_MEMORY:
        return "out of memory"
    return "stopped"
