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

enum kind { FREE, EPOLL, PEER, TERMINAL, LEADER, PIPE_READ, PIPE_WRITE };

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

    bool slave_open, alive, group_alive;            /* alive: the leader */
    bool saw_eio, write_failed;
    bool asked_veof;                                /* the relay has asked for VEOF in this turn and may write it */
    bool hung_up;                                   /* the relay has tried to have the terminal closed */
    bool hangs_up;                                  /* another process hangs up the session's background */
};

struct machine {
    int64_t now_ns;
    uint64_t progress;         /* counts all that happens: a turn without progress is in vain */
    bool short_of_memory, short_of_pipes, interrupts, no_splice_from_tty, no_splice_to_tty;
    bool memory_failed;        /* an allocation has failed at least once */
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

/* -- world.c -- */
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
void signal_leader(struct world *world, int number);
void signal_job(struct world *world, int number);

#endif
