/* The simulated machine: what surrounds each session, the table of descriptors, and the machine's troubles.
 *
 * play.c decides what happens, world.c does it, and kernel.c answers the relay's system calls. */
#ifndef FASTPTY_FUZZ_WORLD_H
#define FASTPTY_FUZZ_WORLD_H

#include "frame_model.h"
#include "kernel.h"
#include "require.h"

enum {
    FILES_MOST = 128, WORLDS_MOST = 6, SENT_MOST = 1 << 17, FIRST_FD = 10,
    PAGE = 4096, PIPE_SLOTS = 16, PTY_HOLDS = 12288, QUEUE_HOLDS = 4095,
    VEOF_CHARACTER = 4, VKILL_CHARACTER = 21, MILLISECOND = 1000000,
    LEADERS = 100, JOBS = 200,   /* world n: its leader is process 100 + n, its foreground job has the group 200 + n */
};

enum kind { FREE, EPOLL, PEER, TERMINAL, LEADER, REPORT, PIPE_READ, PIPE_WRITE, INPUT, OUTPUT, ERRORS };

struct pipe {
    uint8_t data[PIPE_SLOTS * PAGE];
    size_t start, end;
    unsigned slots;
    bool open[2];
};

struct file {
    enum kind kind;
    struct world *world;
    struct pipe *pipe;
    uint32_t watched;          /* events; 0: not in epoll */
    uint64_t token;
    bool pending;              /* in epoll's list of ready descriptors */
    bool passed;               /* another process holds it too, so a close here is not the last one */
};

/* Standard output or error of exec. */
struct stream {
    int fd;                                         /* the relay's end; -1: it has closed it */
    size_t printed, read, received, printed_at_exit;
    bool open;                                      /* the program, or its job, has the other end open */
    bool stopped, ended;                            /* the client has sent STOP; has got STREAM_ENDED */
};

/* What surrounds one session: the client, the socket, the terminal and the program. */
struct world {
    bool used, ended, framed;
    bool refused;              /* has no terminal: the client gets a line only */
    bool deaf;                 /* its processes ignore SIGHUP */
    bool job;                  /* a job with a group of its own is in the foreground */
    bool icanon;
    bool traced;               /* the leader cannot be reaped before its tracer has waited for it */
    int peer, terminal, leader;                     /* descriptors; -1: the relay has closed it */

    /* From client to program, counted in bytes. */
    size_t sent, arrived, taken;                    /* by the client; at the socket; by the relay */
    size_t typed_wanted, typed;                     /* what `taken` means to the program; what the terminal was given */
    size_t terminal_room;                           /* in the terminal's input queue */
    bool end_sent, end_arrived, vanished;           /* the client's half-close, its arrival; the client is gone */
    struct frame_model frames;

    /* From program to client. */
    size_t printed, flushed, read;                  /* by the program; what a read can see; by the relay */
    size_t printed_at_exit;
    size_t received, socket_room;                   /* by the client; room for more */
    bool shut;                                      /* the relay has half-closed */

    /* The extension: see extension.c. */
    bool extended;
    bool start_sent, input_ended, requested;        /* by the client; by the client; the relay has asked for a program */
    size_t window;                                  /* bytes of STDIN that the client may still send */
    int report;                                     /* descriptor; -1: there is none */
    enum { START_PENDING, START_EXECUTED, START_FAILED, START_DIED } start;
    unsigned report_reads;

    /* exec: see streams.c. `terminal_room` is the room in the standard input. */
    bool exec;
    struct stream streams[2];
    int stdin_fd;
    bool stdin_open, stdin_refused;                 /* as in struct stream; the client has got STREAM_ENDED for it */
    int64_t drain_ns;
    struct frame_reader { uint8_t header[4], payload[512]; unsigned header_size, left, size; } frames_in;
    struct frame_reader frames_out;                 /* from the relay */
    bool welcomed, started, final;                  /* frames that the client has received */

    bool slave_open, alive, group_alive;            /* alive: the leader */
    bool counted;                                   /* hung up, and a descriptor is still open: writes do not fail */
    bool told_closed;                               /* epoll has reported EPOLLHUP; the same */
    bool saw_end, write_refused;                    /* the relay got EIO and has not found the terminal open since */
    bool asked_veof;                                /* the relay has asked for VEOF in this turn and may write it */
    bool end_was_typed;                             /* the relay has asked for VEOF at least once */
    bool hung_up;                                   /* the relay has tried to have the terminal closed */
    bool hangs_up;                                  /* another process hangs up the session's background */
};

struct machine {
    int64_t now_ns;
    uint64_t progress;         /* counts all that happens: a turn without progress is in vain */
    bool short_of_memory, short_of_pipes, interrupts, no_splice_from_tty, no_splice_to_tty;
    bool memory_failed;        /* an allocation has failed at least once */
    uint32_t buffer_bytes;     /* session-buffer */
    bool stopped;              /* the router was asked to stop */
};

extern struct file files[FILES_MOST];
extern struct world worlds[WORLDS_MOST];
extern struct machine machine;

/* With FASTPTY_FUZZ_TRACE in the environment a fuzzer prints all that happens, to explain a failure. */
#define TRACE(...) do { if (tracing) fprintf(stderr, __VA_ARGS__); } while (0)
extern bool tracing;

/* -- play.c: decisions, which come from the fuzzer's input -- */
uint8_t decide(void);          /* 0 when the input is used up */
size_t amount(size_t most);    /* 0 to `most`, small or large; 0 when the input is used up */
size_t some(size_t most);      /* 1 to `most`; `most` when the input is used up */

/* -- extension.c -- */
ssize_t report_read(struct world *world, uint8_t *data, size_t size);
void extended_sends_input(struct world *world);
void extended_sends_frame(struct world *world);
void extended_receives(struct world *world, const uint8_t *data, size_t size);
long extended_model_byte(struct world *world, uint8_t byte);
void start_settles(struct world *world, int how);
void check_extended_end(const struct world *world);

/* -- streams.c -- */
void begin_streams(struct world *world, int *descriptors, uint8_t traits);
uint32_t stream_events(const struct file *file);
ssize_t stream_read(struct file *file, uint8_t *data, size_t size);
ssize_t stream_write(struct file *file, const uint8_t *data, size_t size);
int stream_waiting(const struct file *file);
void stream_close(struct file *file);
void stream_prints(struct world *world, int index, size_t size);
void stream_closes(struct world *world, int which);
void streams_end(struct world *world);
void streams_settle(struct world *world);
void streams_send_stop(struct world *world);
void stream_ended(struct world *world, uint8_t stream);
void stream_receives(struct world *world, int index, uint8_t byte);
void check_streams_status(const struct world *world);
void check_streams_wakeup(const struct world *world, int timeout_ms);
size_t streams_received(const struct world *world);

/* -- world.c -- */
void send_frame(struct world *world, uint8_t number, const uint8_t *payload, size_t size);
void terminal_receives(struct world *world, const uint8_t *data, size_t size);
void reset_machine(void);
int number_of(const struct world *world);
uint8_t pattern(const struct world *world, size_t at);

struct file *file_of(int fd);
int open_file(enum kind kind, struct world *world, struct pipe *pipe);
uint32_t ready(const struct file *file);
void edge(int fd, uint32_t events);
bool events_wait(void);
int fail(int error);

ssize_t source_read(struct file *file, uint8_t *data, size_t size);
ssize_t target_write(struct file *file, const uint8_t *data, size_t size);

void send_bytes(struct world *world, const uint8_t *bytes, size_t size);
void client_sends_plain(struct world *world);
void client_sends_frame(struct world *world);
void client_sends_noise(struct world *world);
void client_half_closes(struct world *world);
void client_vanishes(struct world *world);
void bytes_arrive(struct world *world, size_t most);
void socket_gets_room(struct world *world, size_t size);

void program_prints(struct world *world, size_t size);
bool terminal_flushes(struct world *world, size_t most);
void terminal_gets_room(struct world *world, size_t size);
void leader_exits(struct world *world);
void slave_closes(struct world *world);
void slave_reopens(struct world *world);
void signal_leader(struct world *world, int number);
void signal_job(struct world *world, int number);

#endif
