"""The data of a session: a peer, a terminal, and the two channels between them.

A private session has both. On a shared terminal the program is a session with a terminal and no peer, each viewer is a
session with a peer and no terminal, and `Shared` joins them. All times are in nanoseconds of CLOCK_MONOTONIC; 0 = not
set. All durations are in nanoseconds, too.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.channel cimport Channel
from fastpty.relay.ring cimport Ring
from fastpty.relay.terminal cimport Terminal
from fastpty.system.linux cimport winsize
from fastpty.wire.uwsgi cimport FrameParser

# fastpty/relay/queue.pxd
cdef struct Queue:
    Task *head
    Task *tail
    uint32_t length

cdef enum Ending:
    ENDING_EXIT         # no process has the terminal open any more, or the program has exited
    ENDING_PEER_LEFT
    ENDING_IDLE
    ENDING_LIFETIME     # the session reached its maximum lifetime
    ENDING_SILENT       # a uwsgi client sent no byte in time
    ENDING_HTTP         # a TCP client sent an HTTP request
    ENDING_TLS          # a TCP client sent a TLS hello
    ENDING_RAW          # a client of a uwsgi socket sent no frames
    ENDING_FRAMES       # a client of a raw socket sent frames
    ENDING_MEMORY       # no memory for a channel for too long
    ENDING_STOPPED      # the router stops, and the grace time is over

cdef enum Role:
    ROLE_PRIVATE        # a peer with its own terminal, or a refused peer
    ROLE_PROGRAM        # the program on a shared terminal
    ROLE_VIEWER         # a peer that has joined a shared terminal

cdef struct Peer:
    int fd                  # the connection; -1 = closed, or there is none
    bint framed             # it speaks the uwsgi protocol
    bint is_tcp
    bint is_own             # the router's own viewer: it gets the program's output and no notices
    bint is_guarded         # the client may pass descriptors (SCM_RIGHTS): their close could block
    bint is_probed          # see peer_expect_probe
    bint leaving            # the connection is to be closed as soon as possible
    FrameParser parser
    uint64_t ignored_frames

# A channel and its place in the run queue.
cdef struct Task:
    Session *session
    Channel channel
    Task *previous
    Task *next
    Queue *queue            # the queue that it waits in, or NULL
    uint64_t served_at      # Loop.transfers when it was last served
    uint64_t last_transfer_bytes
    int64_t no_memory_since_ns  # 0 = its last step found memory
    bint room_watched       # epoll watches the target for EPOLLOUT

# Something that is tried again, at growing intervals (loop_retry).
cdef struct Retry:
    int64_t at_ns
    int64_t pause_ns

# A shared terminal: it outlives its programs and its viewers.
cdef struct Shared:
    Ring output
    uint64_t announced         # the viewers know that there is output up to this position
    uint64_t scrollback_bytes  # the most earlier output that a new viewer gets
    Session *program           # the program that runs on it, or NULL
    Session *viewers           # the first of a list
    winsize usual_size         # of the window, as configured
    bint is_fixed              # the clients' windows do not change it
    Queue waiting              # input channels of viewers that wait for room in the terminal
    bint closing               # no viewer can join and no program will be started any more
    bint ended                 # the last program has ended
    Retry restart              # the start of the next program

cdef struct Session:
    Role role
    uint32_t slot
    uint32_t generation     # distinguishes an event of this session from a late one of the slot's former session
    uint64_t number
    bint refused            # it has no terminal, only a line of text for the peer
    bint finished           # the terminal is closed; only the peer and the leader may remain
    bint completed          # nothing remains; it is in the list Loop.done
    bint hung_up            # SIGHUP was sent
    Ending ending           # why it is finished
    Session *next_done
    Peer peer
    Terminal terminal
    Task input              # peer → pty
    Task output             # pty → peer
    int64_t started_ns
    int64_t active_ns       # the last transfer
    int64_t kill_at_ns      # SIGKILL to what SIGHUP did not end
    int64_t forget_at_ns    # a stop no longer waits for a killed leader that cannot be reaped
    int64_t linger_until_ns  # the connection is closed although the client has not closed it
    int64_t exit_by_ns      # a leader that has closed its terminal is hung up if it still runs
    int64_t memory_at_ns    # a channel that found no memory, or could not watch for room, tries again
    int64_t probe_at_ns     # see peer_expect_probe
    Retry retry_end_input
    bint line_ended         # Enter or VKILL was typed; the end of input follows
    Retry retry_complete
    Retry retry_reap        # the leader is dead, but cannot be reaped yet
    Retry retry_hang_up     # the errand that hangs up the background is sent again
    Shared *shared          # NULL for a private session
    bint is_read_only       # the input of this viewer is dropped
    Session *next_viewer
    Session *previous_viewer
    uint64_t position       # what this viewer reads next of the shared output
    uint64_t lagged_bytes   # how much of the shared output this viewer lost


cdef inline const char *ending_name(Ending ending) noexcept nogil:
    """Returns the words for the log."""
    if ending == ENDING_EXIT:
        return "exit"
    if ending == ENDING_PEER_LEFT:
        return "client left"
    if ending == ENDING_IDLE:
        return "idle"
    if ending == ENDING_LIFETIME:
        return "lifetime over"
    if ending == ENDING_SILENT:
        return "sent nothing"
    if ending == ENDING_HTTP:
        return "an HTTP request"
    if ending == ENDING_TLS:
        return "a TLS hello"
    if ending == ENDING_RAW:
        return "raw bytes on a uwsgi socket"
    if ending == ENDING_FRAMES:
        return "uwsgi frames on a raw socket"
    if ending == ENDING_MEMORY:
        return "out of memory"
    return "stopped"
