"""The data of a session: a peer, a terminal, and the two channels between them.

A private session has both. On a shared terminal the program is a session with a terminal and no peer, each viewer is a
session with a peer and no terminal, and `Shared` joins them. All times are in nanoseconds of CLOCK_MONOTONIC; 0 = not
set. All durations are in nanoseconds, too.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from fastpty.relay.channel cimport Channel
from fastpty.relay.outbox cimport Outbox
from fastpty.relay.ring cimport Ring
from fastpty.relay.terminal cimport Terminal
from fastpty.system.linux cimport winsize
from fastpty.wire.extension cimport NONCE_BYTES, ErrorCode, ExtensionParser
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
    ENDING_PROTOCOL     # a client of the extension violated the protocol
    ENDING_NOT_STARTED  # the program of a client of the extension could not be started
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

# The phase of a session of the extension. The program of any other session runs from the start.
cdef enum Phase:
    PHASE_GREETING          # nothing is started before the client's START
    PHASE_REQUESTED         # START is whole: the session waits in Loop.requested
    PHASE_STARTING          # its child has not executed the program yet
    PHASE_RUNNING

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

# The counted memory for STARTs of one owner (fastpty/relay/request.pxd).
cdef struct RequestShare:
    int64_t owner               # see Extension.owner
    int64_t bytes               # 0 = the entry is free

# Additional data of a session whose client speaks the negotiated extension.
cdef struct Extension:
    Phase phase
    ExtensionParser parser
    Outbox outbox
    uint8_t nonce[NONCE_BYTES]
    uint8_t small[32]           # the payload of a short frame
    uint32_t small_bytes
    uint8_t *request            # the payload of START that has arrived
    uint32_t request_bytes
    uint32_t request_room
    RequestShare *share         # where the memory for START is counted; NULL = it is not
    Task start                  # its place in Loop.unfinished or Loop.requested; it has no channel
    int64_t owner               # see fastpty.relay.upcalls.Greeting
    uint32_t window             # bytes of STDIN that the client may send before it gets credit
    uint32_t window_left
    uint64_t received           # bytes of STDIN
    uint64_t credited           # how many of them the client got credit for, or will get it
    bint end_was_typed          # the end of input was passed on to the terminal
    bint input_ended            # END_INPUT has come, or the client has half-closed
    bint is_cut_off             # the client has half-closed without END_INPUT
    bint is_resized             # a window size has come after START
    Task errors                 # the program's standard error → peer, if it has streams
    uint8_t stopped             # streams that the client does not want any more: bit N is stream N
    int64_t drain_ns            # how long output that does not end is read after the leader's exit; -1 = for ever
    int64_t drain_by_ns
    bint output_open            # a process still had an output stream open when the session ended
    int report_fd               # the child's report pipe, until the program is executed; -1 = there is none
    int64_t start_by_ns         # START, then the start of the program, then a cancelled start, must be complete by then
    int64_t run_ns              # when the program was executed
    ErrorCode cancel_code       # the ERROR that the client gets if the start is cancelled
    const char *cancel_text     # its text; NULL = the start is not cancelled

# The next time of an action that is retried at growing intervals (loop_retry).
cdef struct Retry:
    int64_t at_ns
    int64_t pause_ns

# A shared terminal: it outlives its programs and its viewers.
cdef struct Shared:
    Ring output
    uint64_t announced         # the viewers were woken for output up to this position
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
    bint output_cut         # output that was written after the leader's exit may be missing
    Ending ending           # why it is finished
    Session *next_done
    Peer peer
    Terminal terminal
    Task input              # peer → pty
    Task output             # pty → peer
    int64_t started_ns
    int64_t ended_ns        # when it was finished
    int64_t active_ns       # the last transfer
    int64_t kill_at_ns      # SIGKILL is sent to processes that SIGHUP did not end
    int64_t forget_at_ns    # a router that stops no longer waits for a killed leader
    int64_t final_by_ns     # STATUS is sent then, even if the leader's status is unknown
    int64_t linger_until_ns  # the connection is closed even if the client has not closed it
    int64_t closed_ns       # since when no process has the terminal open; 0 = one has
    int64_t look_at_ns      # the closed terminal is looked at again
    int64_t memory_at_ns    # a channel that found no memory, or could not watch for room, tries again
    int64_t probe_at_ns     # see peer_expect_probe
    Retry retry_end_input
    bint line_ended         # Enter or VKILL was typed; the end of input follows
    Retry retry_complete
    Retry retry_reap        # the leader is dead, but cannot be reaped yet
    Retry retry_hang_up     # the errand that hangs up the background is sent again
    Extension *extension    # NULL if the client does not speak it
    Shared *shared          # NULL for a private session
    bint is_read_only       # the input of this viewer is dropped
    Session *next_viewer
    Session *previous_viewer
    uint64_t position       # where this viewer goes on reading the shared output
    uint64_t lagged_bytes   # bytes of the shared output that this viewer lost


cdef inline const char *ending_name(Ending ending) noexcept nogil:
    """Returns the text for the log."""
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
    if ending == ENDING_PROTOCOL:
        return "violated the protocol"
    if ending == ENDING_NOT_STARTED:
        return "not started"
    return "stopped"


cdef inline uint64_t session_output_bytes(const Session *session) noexcept nogil:
    """Returns how many bytes of output the client got, with those of standard error."""
    return session.output.channel.bytes + (
        session.extension.errors.channel.bytes if session.extension != NULL else 0)
