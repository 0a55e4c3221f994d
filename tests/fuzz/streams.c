/* Programs without a terminal: their standard input, output and error, as pipes. */

#include "world.h"

#include <sys/ioctl.h>

enum { PIPE_HOLDS = PIPE_SLOTS * PAGE, ERROR_PATTERN = 1 << 20, STOP_FRAME = 145 };

void begin_streams(struct world *world, int *descriptors, uint8_t traits)
{
    world->exec = world->stdin_open = true;
    world->drain_ns = traits % 3 == 0 ? 0 : traits % 3 == 1 ? 300ll * MILLISECOND : -1;
    descriptors[0] = world->stdin_fd = open_file(INPUT, world, NULL);
    for (int index = 0; index < 2; index++) {
        world->streams[index].open = true;
        descriptors[index + 1] = world->streams[index].fd = open_file(index ? ERRORS : OUTPUT, world, NULL);
    }
}

static struct stream *stream_of(const struct file *file)
{
    return &file->world->streams[file->kind == ERRORS];
}

uint32_t stream_events(const struct file *file)
{
    const struct stream *stream = stream_of(file);
    if (file->kind == INPUT)
        return (file->world->terminal_room > 0 || !file->world->stdin_open ? EPOLLOUT : 0) |
               (file->world->stdin_open ? 0 : EPOLLERR);
    return (stream->printed > stream->read ? EPOLLIN : 0) | (stream->open ? 0 : EPOLLHUP);
}

/* A pipe may give less than it holds: one packet, or what one slot holds. */
ssize_t stream_read(struct file *file, uint8_t *data, size_t size)
{
    struct stream *stream = stream_of(file);
    size_t waits = stream->printed - stream->read;
    if (waits == 0)
        return stream->open ? fail(EAGAIN) : 0;
    size = some(size < waits ? size : waits);
    for (size_t index = 0; index < size; index++)
        data[index] = pattern(file->world, stream->read++ + (file->kind == ERRORS ? ERROR_PATTERN : 0));
    machine.progress += size;
    return (ssize_t)size;
}

ssize_t stream_write(struct file *file, const uint8_t *data, size_t size)
{
    struct world *world = file->world;
    if (!world->stdin_open)
        return fail(EPIPE);
    if (world->terminal_room == 0)
        return fail(EAGAIN);
    size = size < world->terminal_room ? size : world->terminal_room;
    terminal_receives(world, data, size);
    machine.progress += size;
    return (ssize_t)size;
}

int stream_waiting(const struct file *file)
{
    return (int)(stream_of(file)->printed - stream_of(file)->read);
}

void stream_close(struct file *file)
{
    if (file->kind == INPUT)
        file->world->stdin_fd = -1;
    else
        stream_of(file)->fd = -1;
}

void stream_prints(struct world *world, int index, size_t size)
{
    struct stream *stream = &world->streams[index];
    size_t room = PIPE_HOLDS - (stream->printed - stream->read);
    if (!stream->open || stream->fd < 0 || world->start != START_EXECUTED)
        return;
    size = size < room ? size : room;
    stream->printed += size;
    if (world->alive)
        stream->printed_at_exit = stream->printed;
    if (size > 0)
        edge(stream->fd, EPOLLIN);
}

/* 0: standard input, 1: output, 2: error. */
void stream_closes(struct world *world, int which)
{
    if (which == 0) {
        world->stdin_open = false;
        edge(world->stdin_fd, EPOLLERR | EPOLLOUT);
    } else {
        world->streams[which - 1].open = false;
        edge(world->streams[which - 1].fd, EPOLLHUP);
    }
}

/* No process of the session is left. */
void streams_end(struct world *world)
{
    for (int which = 0; which < 3; which++)
        stream_closes(world, which);
}

void streams_settle(struct world *world)
{
    if (!world->alive && !world->group_alive)
        streams_end(world);
}

void streams_send_stop(struct world *world)
{
    uint8_t stream = (uint8_t)(1 + decide() % 2);
    world->streams[stream - 1].stopped = true;
    send_frame(world, STOP_FRAME, &stream, 1);
}

void stream_receives(struct world *world, int index, uint8_t byte)
{
    struct stream *stream = &world->streams[index];
    REQUIRE(!stream->ended, "no output follows the end of its stream");
    REQUIRE(byte == pattern(world, stream->received + (index ? ERROR_PATTERN : 0)), "each stream arrives as it was printed");
    stream->received++;
}

void stream_ended(struct world *world, uint8_t stream)
{
    REQUIRE(world->exec && world->started && stream <= 2, "STREAM_ENDED names a stream");
    if (stream == 0) {
        REQUIRE(!world->stdin_open, "the input is refused when nobody can read it");
        world->stdin_refused = true;
        return;
    }
    REQUIRE(!world->streams[stream - 1].ended, "a stream ends once");
    world->streams[stream - 1].ended = true;
}

void check_streams_status(const struct world *world)
{
    for (int index = 0; index < 2; index++) {
        const struct stream *stream = &world->streams[index];
        REQUIRE(stream->ended, "STATUS comes after the end of both streams");
        REQUIRE(stream->stopped || stream->received >= stream->printed_at_exit, "every byte comes before the STATUS");
    }
}

size_t streams_received(const struct world *world)
{
    return world->streams[0].received + world->streams[1].received;
}

/* The relay sleeps for `timeout_ms`. */
void check_streams_wakeup(const struct world *world, int timeout_ms)
{
    const struct stream *out = &world->streams[0], *err = &world->streams[1];
    bool held = out->read + err->read > out->received + err->received && !out->stopped && !err->stopped;
    REQUIRE(!(held && world->socket_room > 0), "output that the relay holds goes out");
    for (int index = 0; index < 2; index++) {
        const struct stream *stream = &world->streams[index];
        if (stream->fd >= 0 && world->socket_room > 0 && world->alive)
            REQUIRE(stream->printed == stream->read, "output goes on if it has room");
    }
    if (world->stdin_fd >= 0 && world->stdin_open && world->alive)
        REQUIRE(world->typed == world->typed_wanted || world->terminal_room == 0, "input that the relay holds is passed on");
    bool is_over = !world->alive && !world->traced && !out->open && !err->open && out->fd >= 0 && err->fd >= 0 &&
                   out->received == out->printed && err->received == err->printed;
    REQUIRE(!is_over || timeout_ms >= 0, "a session ends with the program and its streams");
}
