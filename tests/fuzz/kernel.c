/* A simulated kernel for the relay, driven by fuzz input, and what must hold whatever it does.
 *
 * It never lies, it is only unfriendly: data and room come in pieces, calls are interrupted, memory and pipes run out,
 * things end in every order. Each reason to go on makes an edge, as epoll(7) promises. So when the relay would go to
 * sleep although a program has bytes and its client has room, the relay has lost a wake-up, and that is a failure.
 *
 * A `world` is all that surrounds one session: the client, the socket, the terminal, the program. The program prints a
 * pattern that tells place and world, and a model of the protocol says what it must have been typed. When the input is
 * used up the kernel plays fair, and every session must come to its end. */

#include "kernel.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    FILES_MOST = 128, WORLDS_MOST = 6, ACTS = 20, SENT_MOST = 1 << 17, FIRST_FD = 10,
    PAGE = 4096, PIPE_SLOTS = 16, PTY_HOLDS = 12288, QUEUE_HOLDS = 4095, FAIR_TURNS = 20000, IDLE_TURNS_MOST = 64,
    VEOF_CHARACTER = 4, MILLISECOND = 1000000,
};

void door_open(int epoll_fd, int splice, int64_t idle_ns, int64_t grace_ns, int64_t busy_poll_ns,
               uint32_t buffer_bytes);
int door_session(int world, int peer, int terminal, int leader, int pidfd, int framed);
int door_refusal(int world, int peer, const uint8_t *text, uint32_t size);
int door_timeout_ms(void);
void door_turn(void);
void door_stop(void);
uint32_t door_live(void);
void door_close(void);

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
    uint32_t watched;          /* events; 0 = not in epoll */
    uint64_t token;
    bool sent;                 /* to a process that closes it, too: the close here is not the last */
    bool pending;              /* in epoll's list of the ready */
};

struct world {
    bool used, ended, framed, refused, deaf, job, icanon;
    bool traced;                                /* its leader's end is its tracer's first, and then the relay's */
    int peer, terminal, leader;                 /* descriptors; -1 = closed by the relay */
    /* by the client: size, how far it has arrived, how far it was read */
    size_t sent_size, arrived, taken;
    bool end_sent, end_arrived, vanished, shut; /* half-closed, gone; the relay has half-closed */
    size_t room, got;                           /* in the socket for output; what the client was given */
    uint8_t header[4];                          /* the model of the protocol */
    unsigned header_size, payload_left;
    size_t typed_size, typed;                   /* what the bytes read so far mean to the program: size; what the terminal was given */
    size_t printed, flushed, read;              /* by the program: all, as seen at the master, as read by the relay */
    size_t printed_at_exit, hold;               /* hold: room in the terminal's input queue */
    bool slave_open, alive, group_alive, saw_eio, asked_veof, failed;
    bool over;                                  /* the relay has tried to have the terminal closed */
};

static const uint8_t *input;
static size_t input_left;
static struct file files[FILES_MOST];
static struct world worlds[WORLDS_MOST];
static uint8_t sent[WORLDS_MOST][SENT_MOST], typed_model[WORLDS_MOST][SENT_MOST];
static int64_t now_ns;
static uint64_t progress;
static bool short_of_memory, short_of_pipes, interrupts, refuses_source, refuses_target, memory_failed, stopped;
static unsigned worlds_begun;

#define REQUIRE(condition, promise) do { \
    if (!(condition)) { \
        fprintf(stderr, "broken: %s (%s:%d)\n", promise, __FILE__, __LINE__); \
        abort(); \
    } \
} while (0)

/* With FASTPTY_FUZZ_TRACE in the environment all that happens is told: for looking at a failure. */
#define TRACE(...) do { if (tracing) fprintf(stderr, __VA_ARGS__); } while (0)
static bool tracing;

/* -- decisions -- */

static uint8_t decide(void)
{
    if (input_left == 0)
        return 0;
    input_left--;
    return *input++;
}

/* Up to `most`, small and large amounts alike. 0 when the input is used up. */
static size_t amount(size_t most)
{
    size_t byte = decide();
    size_t chosen = byte < 128 ? byte : (byte - 127) * 509;
    return chosen < most ? chosen : most;
}

/* Some of `most`, at least one byte; all of it when the kernel plays fair. */
static size_t some(size_t most)
{
    size_t left_out = amount(most);
    return left_out < most ? most - left_out : 1;
}

static bool memory_fails(void)
{
    bool fails = short_of_memory && decide() % 4 == 3;
    memory_failed = memory_failed || fails;
    return fails;
}

/* A call that moves bytes did not come to it: a signal, or no memory in the kernel. */
static bool interrupted(void)
{
    if (interrupts && decide() % 8 == 7) {
        errno = EINTR;
        return true;
    }
    if (memory_fails()) {
        errno = decide() % 2 ? ENOMEM : ENOBUFS;
        return true;
    }
    return false;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int number_of(const struct world *world)
{
    return (int)(world - worlds);
}

/* -- descriptors and epoll -- */

static struct file *file_of(int fd)
{
    REQUIRE(fd >= FIRST_FD && fd < FILES_MOST && files[fd].kind != FREE, "only open descriptors are used");
    return &files[fd];
}

static int open_file(enum kind kind, struct world *world, struct pipe *pipe)
{
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].kind == FREE) {
            files[fd] = (struct file){.kind = kind, .world = world, .pipe = pipe};
            return fd;
        }
    return fail(EMFILE);
}

static uint32_t ready(const struct file *file)
{
    const struct world *world = file->world;
    uint32_t events = 0;
    if (file->kind == PEER) {
        bool ended = world->end_sent && world->arrived == world->sent_size;
        events |= world->arrived > world->taken || ended || world->vanished ? EPOLLIN : 0;
        events |= world->room > 0 || world->vanished ? EPOLLOUT : 0;
        events |= ended || world->vanished ? EPOLLRDHUP : 0;
        events |= world->vanished || (ended && world->shut) ? EPOLLHUP : 0;
    } else if (file->kind == TERMINAL) {
        events |= world->flushed > world->read ? EPOLLIN : 0;
        events |= world->hold > 0 || !world->slave_open ? EPOLLOUT : 0;
        events |= world->slave_open ? 0 : EPOLLHUP;
    } else if (file->kind == LEADER) {
        events |= world->alive ? 0 : EPOLLIN;
    }
    return events & (file->watched | EPOLLHUP | EPOLLERR);
}

static void edge(int fd, uint32_t why)
{
    if (fd >= 0 && files[fd].watched & why)
        files[fd].pending = true;
}

int kernel_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct file *file = file_of(fd);
    REQUIRE(file_of(epoll_fd)->kind == EPOLL, "epoll_ctl is given an epoll descriptor");
    REQUIRE((operation == EPOLL_CTL_ADD) == (file->watched == 0), "a descriptor is added to epoll once");
    file->watched = operation == EPOLL_CTL_DEL ? 0 : event->events | EPOLLHUP | EPOLLERR;
    if (file->watched)
        file->token = event->data.u64;
    file->pending = file->watched && ready(file);
    TRACE("  epoll_ctl(%d, %d, %x)\n", operation, fd, file->watched);
    progress++;
    return 0;
}

int kernel_epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout_ms)
{
    int first = decide() % FILES_MOST, count = 0;
    int wanted = 1 + (int)some((size_t)most - 1);
    REQUIRE(file_of(epoll_fd)->kind == EPOLL, "epoll_wait is given an epoll descriptor");
    (void)timeout_ms;
    for (int step = 0; step < FILES_MOST && count < wanted; step++) {
        struct file *file = &files[(first + step) % FILES_MOST];
        if (file->kind == FREE || !file->pending)
            continue;
        uint32_t found = ready(file);
        file->pending = found && !(file->watched & EPOLLET);
        if (found)
            TRACE("  event %x for %d\n", found, (int)(file - files));
        if (found)
            events[count++] = (struct epoll_event){.events = found, .data.u64 = file->token};
    }
    progress += (uint64_t)count;
    for (int index = 0; index < WORLDS_MOST; index++)
        worlds[index].asked_veof = false;
    return count;
}

int kernel_close(int fd)
{
    struct file *file = file_of(fd);
    struct world *world = file->world;
    TRACE("  close(%d)\n", fd);
    if (file->kind == PEER)
        world->peer = -1;
    else if (file->kind == LEADER)
        world->leader = -1;
    else if (file->kind == TERMINAL) {
        REQUIRE(file->sent || !world->slave_open, "the relay does no close that waits for a program");
        world->terminal = -1;
        world->slave_open = world->slave_open && world->deaf;
        /* The kernel hangs up the session: SIGHUP to the leader, and to the foreground group. */
        if (!world->deaf && world->alive) {
            world->alive = false;
            edge(world->leader, EPOLLIN);
        }
        world->group_alive = world->group_alive && world->deaf;
    } else if (file->kind == PIPE_READ || file->kind == PIPE_WRITE) {
        file->pipe->open[file->kind == PIPE_WRITE] = false;
        if (!file->pipe->open[0] && !file->pipe->open[1])
            free(file->pipe);
    }
    *file = (struct file){.kind = FREE};
    progress++;
    return 0;
}

/* The descriptor goes to a process that closes it as soon as the relay has. */
ssize_t kernel_sendmsg(int queue, const struct msghdr *message, int flags)
{
    int fd;
    REQUIRE(flags == (MSG_DONTWAIT | MSG_NOSIGNAL), "an errand is never waited for");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof fd);
    file_of(fd)->world->over = true;
    if (short_of_pipes && decide() % 4 == 3)
        return fail(EAGAIN);
    TRACE("  sendmsg(%d, %d)\n", queue, fd);
    file_of(fd)->sent = true;
    return 1;
}

int kernel_poll(struct pollfd *polled, unsigned long count, int timeout_ms)
{
    REQUIRE(count == 1 && timeout_ms == 0, "poll does not wait");
    polled->revents = file_of(polled->fd)->world->slave_open ? 0 : POLLHUP;
    return polled->revents ? 1 : 0;
}

int kernel_pipe2(int *ends, int flags)
{
    struct pipe *pipe;
    REQUIRE(flags == (O_NONBLOCK | O_CLOEXEC), "pipes never block and are not inherited");
    if (short_of_pipes && decide() % 4 == 3)
        return fail(EMFILE);
    pipe = malloc(sizeof *pipe);
    pipe->start = pipe->end = pipe->slots = 0;
    pipe->open[0] = pipe->open[1] = true;
    ends[0] = open_file(PIPE_READ, NULL, pipe);
    ends[1] = open_file(PIPE_WRITE, NULL, pipe);
    return 0;
}

/* -- bytes -- */

static uint8_t pattern(const struct world *world, size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 13 + (size_t)number_of(world) * 101);
}

static void take_model_byte(struct world *world, uint8_t byte)
{
    if (!world->framed || world->payload_left > 0) {
        bool is_stdin = !world->framed || world->header[3] == 0;
        world->payload_left -= world->framed;
        if (is_stdin)
            typed_model[number_of(world)][world->typed_size++] = byte;
        return;
    }
    world->header[world->header_size++] = byte;
    if (world->header_size == 4) {
        world->header_size = 0;
        if (world->header[3] != 100 && world->header[3] != 101)
            world->payload_left = world->header[1] | (unsigned)world->header[2] << 8;
    }
}

/* The kernel's worker moves what was printed to where the master can read it: up to QUEUE_HOLDS, and with an edge. */
static bool flush_terminal(struct world *world, size_t most)
{
    size_t coming = world->printed - world->flushed, room = QUEUE_HOLDS - (world->flushed - world->read);
    most = most < room ? most : room;
    coming = coming < most ? coming : most;
    world->flushed += coming;
    if (coming > 0)
        edge(world->terminal, EPOLLIN);
    return coming > 0;
}

/* The program's bytes that wait at the master: a read that finds none first makes the kernel look for more. */
static size_t terminal_waits(struct world *world)
{
    if (world->flushed == world->read)
        flush_terminal(world, QUEUE_HOLDS);
    return world->flushed - world->read;
}

/* Bytes from a peer or a terminal; `data` NULL looks only. The result is as read(2)'s. */
static ssize_t source_read(struct file *file, uint8_t *data, size_t size)
{
    struct world *world = file->world;
    size_t waits = file->kind == PEER ? world->arrived - world->taken : terminal_waits(world);
    if (waits == 0) {
        if (file->kind == PEER)
            return world->vanished || (world->end_sent && world->arrived == world->sent_size) ? 0 : fail(EAGAIN);
        world->saw_eio = world->saw_eio || !world->slave_open;
        return fail(world->slave_open ? EAGAIN : EIO);
    }
    size = size < waits ? size : waits;
    for (size_t index = 0; index < size; index++) {
        if (file->kind == TERMINAL) {
            data[index] = pattern(world, world->read++);
        } else {
            data[index] = sent[number_of(world)][world->taken++];
            if (world->terminal >= 0)
                take_model_byte(world, data[index]);
        }
    }
    progress += size;
    if (file->kind == TERMINAL)
        flush_terminal(world, QUEUE_HOLDS);   /* what the queue had no room for */
    return (ssize_t)size;
}

static ssize_t target_write(struct file *file, const uint8_t *data, size_t size)
{
    struct world *world = file->world;
    size_t room = file->kind == PEER ? world->room : world->hold;
    if (file->kind == PEER ? world->vanished : !world->slave_open) {
        world->failed = true;
        return fail(file->kind == PEER ? EPIPE : EIO);
    }
    REQUIRE(file->kind != PEER || !world->shut, "nothing is written after a half-close");
    if (room == 0)
        return fail(EAGAIN);
    size = size < room ? size : room;
    if (file->kind == PEER) {
        for (size_t index = 0; index < size; index++)
            REQUIRE(data[index] == pattern(world, world->got + index), "output arrives as it was printed");
        world->got += size;
        world->room -= size;
    } else if (world->asked_veof) {
        REQUIRE(size <= 2 && data[0] == VEOF_CHARACTER, "an end of input is one or two VEOF characters");
        REQUIRE(world->typed == world->typed_size || world->failed, "an end of input comes behind all input");
    } else {
        REQUIRE(size <= world->typed_size - world->typed, "no more is typed than was sent");
        REQUIRE(memcmp(data, typed_model[number_of(world)] + world->typed, size) == 0, "input arrives as it was sent");
        world->typed += size;
        world->hold -= size;
    }
    progress += size;
    return (ssize_t)size;
}

static ssize_t told(const char *call, int fd, size_t size, ssize_t result)
{
    TRACE("  %s(%d, %zu) = %zd%s%s\n", call, fd, size, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
    return result;
}

static ssize_t read_from(struct file *file, void *data, size_t size)
{
    if (file->kind != PIPE_READ && interrupted())
        return -1;
    if (file->kind == PEER || file->kind == TERMINAL)
        return source_read(file, data, size);
    REQUIRE(file->kind == PIPE_READ, "reads are from peers, terminals and pipes");
    struct pipe *pipe = file->pipe;
    size_t held = pipe->end - pipe->start;
    if (held == 0)
        return fail(EAGAIN);
    size = size < held ? size : held;
    memcpy(data, pipe->data + pipe->start, size);
    pipe->start += size;
    return (ssize_t)size;
}

ssize_t kernel_read(int fd, void *data, size_t size)
{
    return told("read", fd, size, read_from(file_of(fd), data, size));
}

ssize_t kernel_write(int fd, const void *data, size_t size)
{
    struct file *file = file_of(fd);
    REQUIRE(file->kind == PEER || file->kind == TERMINAL, "writes are to peers and terminals");
    if (!file->world->asked_veof && interrupted())
        return told("write", fd, size, -1);
    return told("write", fd, size, target_write(file, data, size));
}

static ssize_t splice_in(struct file *source, struct pipe *pipe, size_t size)
{
    uint8_t bytes[PIPE_SLOTS * PAGE];
    size_t room = (PIPE_SLOTS - pipe->slots) * (size_t)PAGE;
    if (pipe->start == pipe->end)
        pipe->start = pipe->end = 0;
    if (room > sizeof pipe->data - pipe->end)
        room = sizeof pipe->data - pipe->end;
    if (room == 0)
        return fail(EAGAIN);
    size = size < room ? size : room;
    if (source->kind == PEER && source->world->arrived > source->world->taken) {
        /* Small pieces use up the slots, and urgent data is in the way: less than there is, or nothing, and no edge. */
        size = some(size);
        if (decide() % 16 == 15)
            return fail(EAGAIN);
    }
    ssize_t got = source_read(source, bytes, size);
    if (got > 0) {
        memcpy(pipe->data + pipe->end, bytes, (size_t)got);
        pipe->end += (size_t)got;
        pipe->slots += ((unsigned)got + PAGE - 1) / PAGE;
    }
    return got;
}

static ssize_t splice_out(struct pipe *pipe, struct file *target, size_t size)
{
    size_t held = pipe->end - pipe->start;
    REQUIRE(held > 0, "an empty pipe is not spliced from");
    ssize_t sent = target_write(target, pipe->data + pipe->start, size < held ? size : held);
    if (sent > 0) {
        pipe->start += (size_t)sent;
        pipe->slots = (unsigned)(pipe->end - pipe->start + PAGE - 1) / PAGE;
    }
    return sent;
}

ssize_t kernel_splice(int source_fd, off_t *from, int target_fd, off_t *to, size_t size, unsigned flags)
{
    struct file *source = file_of(source_fd), *target = file_of(target_fd);
    REQUIRE(from == NULL && to == NULL && flags & SPLICE_F_NONBLOCK, "splice never blocks");
    REQUIRE(source->kind == PIPE_READ || target->kind == PIPE_WRITE, "splice has a pipe at one end");
    if (interrupted())
        return told("splice", source_fd, size, -1);
    if ((refuses_source && source->kind == TERMINAL) || (refuses_target && target->kind == TERMINAL))
        return told("splice", source_fd, size, fail(EINVAL));
    if (target->kind == PIPE_WRITE)
        return told("splice in", source_fd, size, splice_in(source, target->pipe, size));
    return told("splice out", target_fd, size, splice_out(source->pipe, target, size));
}

int kernel_shutdown(int fd, int how)
{
    struct file *file = file_of(fd);
    REQUIRE(file->kind == PEER && how == SHUT_WR, "only the output's end of a connection is shut");
    file->world->shut = true;
    progress++;
    return 0;
}

/* -- the terminal and its processes: the leader of world n is process 100 + n, the job's group 200 + n -- */

int kernel_ioctl(int fd, unsigned long request, ...)
{
    REQUIRE(file_of(fd)->kind == TERMINAL, "only terminals have controls");
    (void)request;
    return 0;
}

int kernel_tcgetattr(int fd, struct termios *attributes)
{
    struct world *world = file_of(fd)->world;
    memset(attributes, 0, sizeof *attributes);
    attributes->c_cc[VEOF] = VEOF_CHARACTER;
    attributes->c_lflag = world->icanon ? ICANON | ISIG : ISIG;
    world->asked_veof = true;
    return 0;
}

pid_t kernel_tcgetpgrp(int fd)
{
    struct world *world = file_of(fd)->world;
    int number = number_of(world);
    if (!world->slave_open)
        return fail(ENOTTY);
    return (world->job ? 200 : 100) + number;
}

static void signal_leader(struct world *world, int number)
{
    bool fatal = number == SIGKILL || (number == SIGHUP && !world->deaf);
    if (!fatal || !world->alive)
        return;
    world->alive = false;
    world->printed_at_exit = world->printed;
    if (!world->job || !world->group_alive)
        world->slave_open = false;
    edge(world->leader, EPOLLIN);
    edge(world->terminal, EPOLLIN);
}

static void signal_group(struct world *world, int number)
{
    bool fatal = number == SIGKILL || (number == SIGHUP && !world->deaf);
    if (!fatal || !world->group_alive)
        return;
    world->group_alive = false;
    if (!world->alive)
        world->slave_open = false;
    edge(world->terminal, EPOLLIN);
}

int kernel_kill(pid_t pid, int number)
{
    int group = -pid, index = group % 100;
    REQUIRE(pid < -1 && (group / 100 == 1 || group / 100 == 2) && index < WORLDS_MOST, "only groups are signalled");
    struct world *world = &worlds[index];
    bool remains = group / 100 == 2 ? world->group_alive : world->alive;
    if (!remains)
        return fail(ESRCH);
    if (number != 0 && group / 100 == 2)
        signal_group(world, number);
    else if (number != 0)
        signal_leader(world, number);
    return 0;
}

pid_t kernel_getsid(pid_t pid)
{
    return 100 + pid % 100;
}

pid_t kernel_tcgetsid(int fd)
{
    return 100 + number_of(file_of(fd)->world);
}

long kernel_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    int fd = va_arg(arguments, int), signal_number = va_arg(arguments, int);
    va_end(arguments);
    REQUIRE(number == SYS_pidfd_send_signal && file_of(fd)->kind == LEADER, "leaders are signalled by pidfd");
    signal_leader(file_of(fd)->world, signal_number);
    return 0;
}

int kernel_waitid(int kind, unsigned number, siginfo_t *info, int options)
{
    struct file *file = file_of((int)number);
    REQUIRE(file->kind == LEADER && kind == 3 && options & WNOHANG, "leaders are reaped by pidfd, without waiting");
    memset(info, 0, sizeof *info);
    if (!file->world->alive && !file->world->traced) {
        info->si_pid = 100 + number_of(file->world);
        info->si_code = CLD_EXITED;
    }
    return 0;
}

int kernel_clock_gettime(int clock, struct timespec *now)
{
    REQUIRE(clock == CLOCK_MONOTONIC, "deadlines do not follow the clock on the wall");
    now->tv_sec = now_ns / 1000000000;
    now->tv_nsec = now_ns % 1000000000;
    return 0;
}

/* Whoever yields may wait for the others' whole time slices. */
int kernel_sched_yield(void)
{
    now_ns += 10000 + (decide() % 8 == 7 ? 3 * MILLISECOND : 0);
    return 0;
}

void *kernel_malloc(size_t size)
{
    return memory_fails() ? NULL : malloc(size);
}

void *kernel_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : calloc(count, size);
}

void *kernel_realloc(void *old, size_t size)
{
    return memory_fails() ? NULL : realloc(old, size);
}

/* -- what happens in a world -- */

static void send_bytes(struct world *world, const uint8_t *bytes, size_t size)
{
    if (world->end_sent || world->vanished || world->sent_size + size > SENT_MOST)
        return;
    memcpy(sent[number_of(world)] + world->sent_size, bytes, size);
    world->sent_size += size;
}

static void send_frame(struct world *world)
{
    static const uint8_t kinds[] = {0, 0, 0, 0, 1, 2, 9, 64, 65, 100, 101, 102, 255};
    uint8_t kind = kinds[decide() % sizeof kinds], bytes[4 + 65535];
    size_t size = amount(65535);
    bytes[0] = 0;
    bytes[1] = size & 255;
    bytes[2] = (uint8_t)(size >> 8);
    bytes[3] = kind;
    bool payload = kind != 100 && kind != 101;
    for (size_t index = 0; payload && index < size; index++)
        bytes[4 + index] = (uint8_t)(world->sent_size + index * 5);
    send_bytes(world, bytes, 4 + (payload ? size : 0));
}

static void send_noise(struct world *world)
{
    uint8_t bytes[16];
    size_t size = decide() % sizeof bytes;
    for (size_t index = 0; index < size; index++)
        bytes[index] = decide();
    send_bytes(world, bytes, size);
}

static void send_plain(struct world *world)
{
    uint8_t bytes[65536];
    size_t size = amount(sizeof bytes);
    for (size_t index = 0; index < size; index++)
        bytes[index] = (uint8_t)(world->sent_size * 3 + index);
    send_bytes(world, bytes, size);
}

static void arrive(struct world *world, size_t most)
{
    size_t coming = world->sent_size - world->arrived;
    size_t size = coming < most ? coming : most;
    world->arrived += size;
    bool end_arrives = world->end_sent && world->arrived == world->sent_size && !world->end_arrived;
    world->end_arrived = world->end_arrived || end_arrives;
    if (size > 0 || end_arrives)
        edge(world->peer, EPOLLIN);
}

static void print_some(struct world *world, size_t size)
{
    size_t held = world->printed - world->read;
    if (!world->slave_open || held >= PTY_HOLDS)
        return;
    world->printed += size < PTY_HOLDS - held ? size : PTY_HOLDS - held;
    if (world->alive)
        world->printed_at_exit = world->printed;
}

static void exit_leader(struct world *world)
{
    if (!world->alive)
        return;
    world->alive = false;
    if (!world->job || !world->group_alive)
        world->slave_open = false;
    edge(world->leader, EPOLLIN);
    edge(world->terminal, EPOLLIN);
}

static void close_slave(struct world *world)
{
    world->slave_open = false;
    world->group_alive = false;
    edge(world->terminal, EPOLLIN);
}

static void vanish(struct world *world)
{
    world->vanished = true;
    world->room = 0;
    edge(world->peer, EPOLLIN);
}

static void give_room(struct world *world, size_t size)
{
    if (world->vanished)
        return;
    world->room += size;
    edge(world->peer, EPOLLOUT);
}

static void hold_more(struct world *world, size_t size)
{
    world->hold += size;
    if (size > 0)
        edge(world->terminal, EPOLLOUT);
}

static void begin_world(void)
{
    uint8_t traits = decide();
    struct world *world = &worlds[worlds_begun];
    if (worlds_begun == WORLDS_MOST)
        return;
    int number = (int)worlds_begun++;
    *world = (struct world){.used = true, .terminal = -1, .leader = -1};
    world->framed = traits & 1;
    world->deaf = traits & 2;
    world->job = world->group_alive = traits & 4;
    world->icanon = traits & 8;
    world->refused = (traits & 48) == 48;
    world->traced = (traits & 64) && !stopped;   /* no session begins when the router stops */
    world->peer = open_file(PEER, world, NULL);
    world->room = amount(65536);
    bool begun;
    if (world->refused) {
        uint8_t text[200];
        world->printed = world->printed_at_exit = world->read = sizeof text;
        for (size_t index = 0; index < sizeof text; index++)
            text[index] = pattern(world, index);
        begun = door_refusal(number, world->peer, text, sizeof text);
    } else {
        world->alive = world->slave_open = true;
        world->hold = amount(8192);
        world->terminal = open_file(TERMINAL, world, NULL);
        world->leader = open_file(LEADER, world, NULL);
        begun = door_session(number, world->peer, world->terminal, 100 + number, world->leader, world->framed);
    }
    TRACE("world %d: begun %d, traits %x, peer %d, terminal %d, leader %d, room %zu, hold %zu\n", number, begun, traits,
          world->peer, world->terminal, world->leader, world->room, world->hold);
    if (begun)
        return;
    world->ended = true;
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].world == world) {
            files[fd].sent = true;
            kernel_close(fd);
        }
}

void kernel_ended(int number, int exited, uint64_t bytes_in, uint64_t bytes_out)
{
    struct world *world = &worlds[number];
    TRACE("world %d: ended, %d, %zu bytes in, %zu out\n", number, exited, (size_t)bytes_in, (size_t)bytes_out);
    REQUIRE(!world->ended, "a session ends once");
    world->ended = true;
    progress++;
    REQUIRE(world->peer < 0 && world->leader < 0, "an ended session leaves no descriptor");
    REQUIRE(world->terminal < 0 || stopped, "only a stop leaves a terminal that nobody takes");
    REQUIRE(!world->alive, "an ended session leaves no leader");
    REQUIRE(bytes_out == world->got, "the bytes given to a client are counted");
    REQUIRE(bytes_in == world->typed, "the bytes given to a program are counted");
    if (exited && !world->refused)
        REQUIRE(world->got >= world->printed_at_exit, "all that a program has printed before its exit arrives");
}

/* -- turns -- */

static void check_no_wakeup_is_lost(const struct world *world)
{
    if (!world->used || world->ended || world->vanished)
        return;
    if (world->terminal < 0 || world->over)
        return;   /* over, or refused: deadlines see to the rest */
    bool waits = world->flushed > world->read || (!world->slave_open && !world->saw_eio);
    REQUIRE(!(waits && world->room > 0 && world->read == world->got), "output goes on while there is room");
    REQUIRE(!(world->read > world->got && world->room > 0), "what the relay holds goes out when there is room");
    if (!world->slave_open)
        return;
    bool takes = world->arrived > world->taken && world->typed == world->typed_size;
    REQUIRE(!(takes && world->hold > 0), "input goes on while there is room");
    REQUIRE(!(world->typed_size > world->typed && world->hold > 0), "what is held goes in when there is room");
}

static bool events_wait(void)
{
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].kind != FREE && files[fd].pending && ready(&files[fd]))
            return true;
    return false;
}

/* One turn of the relay. Where it would sleep, nothing may be left to do; in fair play the time passes then. */
static void turn(bool fair)
{
    static unsigned idle_turns;
    uint64_t before = progress;
    int timeout_ms = door_timeout_ms();
    /* Who found no memory waits for some milliseconds. */
    bool asleep = timeout_ms != 0 && !events_wait(), starved = memory_failed && timeout_ms > 0 && timeout_ms <= 21;
    if (asleep && !starved) {
        for (int index = 0; index < WORLDS_MOST; index++)
            check_no_wakeup_is_lost(&worlds[index]);
    }
    if (asleep && (fair || starved) && timeout_ms > 0)
        now_ns += (int64_t)timeout_ms * MILLISECOND;
    TRACE("turn, timeout %d\n", timeout_ms);
    door_turn();
    idle_turns = timeout_ms == 0 && progress == before ? idle_turns + 1 : 0;
    REQUIRE(idle_turns < IDLE_TURNS_MOST, "the relay does not turn for nothing");
}

static void act(struct world *world, unsigned what)
{
    TRACE("world %d: act %d\n", number_of(world), what);
    switch (what) {
    case 0: send_plain(world); break;
    case 1: send_frame(world); break;
    case 2: send_noise(world); break;
    case 3: arrive(world, amount(SENT_MOST)); break;
    case 4: arrive(world, SENT_MOST); break;
    case 5: print_some(world, amount(PTY_HOLDS)); break;
    case 6: flush_terminal(world, amount(PTY_HOLDS)); break;
    case 7: print_some(world, PTY_HOLDS); flush_terminal(world, PTY_HOLDS); break;
    case 8: give_room(world, amount(65536)); break;
    case 9: hold_more(world, amount(8192)); break;
    case 10: world->end_sent = true; arrive(world, SENT_MOST); break;
    case 11: vanish(world); break;
    case 12: exit_leader(world); break;
    case 13: close_slave(world); break;
    case 15: world->traced = false; break;   /* and no edge: the relay has to ask again */
    case 14: world->icanon = !world->icanon; world->job = world->group_alive; break;
    default: files[world->peer >= 0 ? world->peer : FIRST_FD].pending = world->peer >= 0;
    }
}

static void play(void)
{
    while (input_left > 0) {
        uint8_t choice = decide();
        if (choice >= 0xF0)
            begin_world();
        else if (choice >= 0xE8)
            now_ns += (int64_t)amount(65536) * MILLISECOND;
        else if (choice == 0xE7)
            stopped = true, door_stop();
        else if (choice >= WORLDS_MOST * ACTS)
            turn(false);
        else if (worlds[choice / ACTS].used && !worlds[choice / ACTS].ended)
            act(&worlds[choice / ACTS], choice % ACTS);
    }
}

/* Everybody does what one can hope for: reads, prints the rest, exits; or leaves, if it is deaf, without a word. */
static void play_fair_once(struct world *world)
{
    if (!world->used || world->ended)
        return;
    if (world->deaf)
        vanish(world);
    world->traced = world->traced && stopped;   /* a stop must not wait for a tracer */
    arrive(world, SENT_MOST);
    give_room(world, 1 << 20);
    hold_more(world, 8192);
    flush_terminal(world, PTY_HOLDS);
    if (!world->deaf && !world->refused)
        exit_leader(world);
    if (world->shut)
        vanish(world);
}

static void play_fair(void)
{
    int turns = 0;
    input_left = 0;
    for (; door_live() > 0; turns++) {
        REQUIRE(turns < FAIR_TURNS, "every session comes to its end");
        for (int index = 0; index < WORLDS_MOST; index++)
            play_fair_once(&worlds[index]);
        turn(true);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t traits;
    tracing = getenv("FASTPTY_FUZZ_TRACE") != NULL;
    input = data;
    input_left = size;
    memset(files, 0, sizeof files);
    memset(worlds, 0, sizeof worlds);
    now_ns = 1000000000;
    worlds_begun = 0;
    memory_failed = stopped = false;
    traits = decide();
    short_of_memory = (traits & 3) == 3;
    short_of_pipes = traits & 4;
    interrupts = traits & 8;
    refuses_source = (traits & 48) == 48;
    refuses_target = (traits & 48) == 32;
    int epoll_fd = open_file(EPOLL, NULL, NULL);
    bool in_a_hurry = traits & 128;
    door_open(epoll_fd, !(traits & 64), in_a_hurry ? 3000ll * MILLISECOND : 0, 1000ll * MILLISECOND,
              in_a_hurry ? MILLISECOND / 10 : 0, (traits & 48) == 16 ? PAGE : 16 * PAGE);
    begin_world();
    play();
    short_of_memory = short_of_pipes = interrupts = false;
    play_fair();
    door_close();
    for (int fd = epoll_fd + 1; fd < FILES_MOST; fd++)
        REQUIRE(files[fd].kind == FREE || (stopped && files[fd].kind == TERMINAL), "no descriptor is left");
    return 0;
}
