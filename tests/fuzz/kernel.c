/* The system calls of the simulated kernel. kernel.h puts them in the place of libc's.
 *
 * They keep every promise of the man pages and are otherwise as unfriendly as these allow: reads and writes are short,
 * calls are interrupted, memory and pipes run out. */

#include "world.h"

#include <stdarg.h>

static bool memory_fails(void)
{
    bool fails = machine.short_of_memory && decide() % 4 == 3;
    machine.memory_failed = machine.memory_failed || fails;
    return fails;
}

/* True if a call that moves bytes fails: interrupted by a signal, or without memory in the kernel. */
static bool interrupted(void)
{
    if (machine.interrupts && decide() % 8 == 7) {
        errno = EINTR;
        return true;
    }
    if (memory_fails()) {
        errno = decide() % 2 ? ENOMEM : ENOBUFS;
        return true;
    }
    return false;
}

/* -- descriptors -- */

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
    machine.progress++;
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
    machine.progress += (uint64_t)count;
    for (int index = 0; index < WORLDS_MOST; index++)
        worlds[index].asked_veof = false;
    return count;
}

static void close_terminal(struct file *file)
{
    struct world *world = file->world;
    REQUIRE(file->passed || !world->slave_open, "the relay leaves a close that waits for a program to another process");
    world->terminal = -1;
    world->slave_open = world->slave_open && world->deaf;
    /* The kernel hangs up: it sends SIGHUP to the leader and to the foreground group. */
    if (!world->deaf && world->alive) {
        world->alive = false;
        edge(world->leader, EPOLLIN);
    }
    world->group_alive = world->group_alive && world->deaf;
}

int kernel_close(int fd)
{
    struct file *file = file_of(fd);
    TRACE("  close(%d)\n", fd);
    if (file->kind == PEER)
        file->world->peer = -1;
    else if (file->kind == LEADER)
        file->world->leader = -1;
    else if (file->kind == TERMINAL)
        close_terminal(file);
    else if (file->kind == PIPE_READ || file->kind == PIPE_WRITE) {
        file->pipe->open[file->kind == PIPE_WRITE] = false;
        if (!file->pipe->open[0] && !file->pipe->open[1])
            free(file->pipe);
    }
    *file = (struct file){.kind = FREE};
    machine.progress++;
    return 0;
}

/* Passes a terminal to another process, which closes it as soon as the relay has; or a leader, whose session's
 * background another process hangs up. */
ssize_t kernel_sendmsg(int queue, const struct msghdr *message, int flags)
{
    int fd;
    REQUIRE(flags == (MSG_DONTWAIT | MSG_NOSIGNAL), "the relay does not wait to pass a descriptor");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof fd);
    if (file_of(fd)->kind == TERMINAL)
        file_of(fd)->world->hung_up = true;
    if (machine.short_of_pipes && decide() % 4 == 3)
        return fail(EAGAIN);
    TRACE("  sendmsg(%d, %d)\n", queue, fd);
    file_of(fd)->passed = true;
    file_of(fd)->world->hangs_up = file_of(fd)->world->hangs_up || file_of(fd)->kind == LEADER;
    return 1;
}

int kernel_poll(struct pollfd *polled, unsigned long count, int timeout_ms)
{
    REQUIRE(count == 1 && timeout_ms == 0, "poll does not wait");
    polled->revents = ready(file_of(polled->fd)) & EPOLLHUP ? POLLHUP : 0;
    polled->revents |= ready(file_of(polled->fd)) & EPOLLIN ? polled->events & POLLIN : 0;
    return polled->revents ? 1 : 0;
}

int kernel_pipe2(int *ends, int flags)
{
    struct pipe *pipe;
    REQUIRE(flags == (O_NONBLOCK | O_CLOEXEC), "pipes never block and are not inherited");
    if (machine.short_of_pipes && decide() % 4 == 3)
        return fail(EMFILE);
    pipe = malloc(sizeof *pipe);
    pipe->start = pipe->end = pipe->slots = 0;
    pipe->open[0] = pipe->open[1] = true;
    ends[0] = open_file(PIPE_READ, NULL, pipe);
    ends[1] = open_file(PIPE_WRITE, NULL, pipe);
    return 0;
}

int kernel_shutdown(int fd, int how)
{
    struct file *file = file_of(fd);
    REQUIRE(file->kind == PEER && how == SHUT_WR, "the relay shuts the sending half of connections only");
    file->world->shut = true;
    machine.progress++;
    return 0;
}

/* -- bytes -- */

static ssize_t trace_result(const char *call, int fd, size_t size, ssize_t result)
{
    TRACE("  %s(%d, %zu) = %zd%s%s\n", call, fd, size, result, result < 0 ? " " : "",
          result < 0 ? strerror(errno) : "");
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
    return trace_result("read", fd, size, read_from(file_of(fd), data, size));
}

ssize_t kernel_write(int fd, const void *data, size_t size)
{
    struct file *file = file_of(fd);
    REQUIRE(file->kind == PEER || file->kind == TERMINAL, "writes are to peers and terminals");
    if (!file->world->asked_veof && interrupted())
        return trace_result("write", fd, size, -1);
    return trace_result("write", fd, size, target_write(file, data, size));
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
        /* Small packets use up the slots, and splice stops at urgent data: less than all moves, or nothing, and no
         * edge follows for the rest. */
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
        return trace_result("splice", source_fd, size, -1);
    bool refused = (machine.no_splice_from_tty && source->kind == TERMINAL) ||
                   (machine.no_splice_to_tty && target->kind == TERMINAL);
    if (refused)
        return trace_result("splice", source_fd, size, fail(EINVAL));
    if (target->kind == PIPE_WRITE)
        return trace_result("splice in", source_fd, size, splice_in(source, target->pipe, size));
    return trace_result("splice out", target_fd, size, splice_out(source->pipe, target, size));
}

/* -- the terminal and its processes -- */

int kernel_ioctl(int fd, unsigned long request, ...)
{
    REQUIRE(file_of(fd)->kind == TERMINAL, "ioctl is given a terminal");
    (void)request;
    return 0;
}

int kernel_tcgetattr(int fd, struct termios *attributes)
{
    struct world *world = file_of(fd)->world;
    memset(attributes, 0, sizeof *attributes);
    attributes->c_cc[VEOF] = VEOF_CHARACTER;
    attributes->c_cc[VKILL] = VKILL_CHARACTER;
    attributes->c_lflag = world->icanon ? ICANON | ISIG : ISIG;
    world->asked_veof = true;
    return 0;
}

pid_t kernel_tcgetpgrp(int fd)
{
    struct world *world = file_of(fd)->world;
    if (!world->slave_open)
        return fail(ENOTTY);
    return (world->job ? JOBS : LEADERS) + number_of(world);
}

int kernel_kill(pid_t pid, int number)
{
    int group = -pid, index = group % 100, first = group - index;
    REQUIRE(pid < -1 && (first == LEADERS || first == JOBS) && index < WORLDS_MOST, "kill is given a session's group");
    struct world *world = &worlds[index];
    bool remains = first == JOBS ? world->group_alive : world->alive;
    if (!remains)
        return fail(ESRCH);
    if (number != 0 && first == JOBS)
        signal_job(world, number);
    else if (number != 0)
        signal_leader(world, number);
    return 0;
}

pid_t kernel_getsid(pid_t pid)
{
    return LEADERS + pid % 100;
}

pid_t kernel_tcgetsid(int fd)
{
    return LEADERS + number_of(file_of(fd)->world);
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
        info->si_pid = LEADERS + number_of(file->world);
        info->si_code = CLD_EXITED;
    }
    return 0;
}

/* -- time and memory -- */

int kernel_clock_gettime(int clock, struct timespec *now)
{
    REQUIRE(clock == CLOCK_MONOTONIC, "deadlines do not depend on the time of day");
    now->tv_sec = machine.now_ns / 1000000000;
    now->tv_nsec = machine.now_ns % 1000000000;
    return 0;
}

/* The CPU may come back only after another process's time slice. */
int kernel_sched_yield(void)
{
    machine.now_ns += 10000 + (decide() % 8 == 7 ? 3 * MILLISECOND : 0);
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
