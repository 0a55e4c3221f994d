/* The state of the simulated machine, and everything that can happen to it from outside the relay. */

#include "world.h"

struct file files[FILES_MOST];
struct world worlds[WORLDS_MOST];
struct machine machine;

static uint8_t sent_bytes[WORLDS_MOST][SENT_MOST], typed_bytes[WORLDS_MOST][SENT_MOST];

void reset_machine(void)
{
    memset(files, 0, sizeof files);
    memset(worlds, 0, sizeof worlds);
    machine = (struct machine){.now_ns = 1000 * (int64_t)MILLISECOND};
}

int number_of(const struct world *world)
{
    return (int)(world - worlds);
}

int fail(int error)
{
    errno = error;
    return -1;
}

/* -- descriptors and their events -- */

struct file *file_of(int fd)
{
    REQUIRE(fd >= FIRST_FD && fd < FILES_MOST && files[fd].kind != FREE, "the relay uses open descriptors only");
    return &files[fd];
}

int open_file(enum kind kind, struct world *world, struct pipe *pipe)
{
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].kind == FREE) {
            files[fd] = (struct file){.kind = kind, .world = world, .pipe = pipe};
            return fd;
        }
    return fail(EMFILE);
}

static uint32_t peer_events(const struct world *world)
{
    bool ended = world->end_sent && world->arrived == world->sent;
    uint32_t events = 0;
    events |= world->arrived > world->taken || ended || world->vanished ? EPOLLIN : 0;
    events |= world->socket_room > 0 || world->vanished ? EPOLLOUT : 0;
    events |= ended || world->vanished ? EPOLLRDHUP : 0;
    events |= world->vanished || (ended && world->shut) ? EPOLLHUP : 0;
    return events;
}

static uint32_t terminal_events(const struct world *world)
{
    uint32_t events = 0;
    events |= world->flushed > world->read ? EPOLLIN : 0;
    events |= world->terminal_room > 0 || !world->slave_open ? EPOLLOUT : 0;
    events |= world->slave_open ? 0 : EPOLLHUP;
    return events;
}

/* The events that epoll would report now. */
uint32_t ready(const struct file *file)
{
    uint32_t events = 0;
    if (file->kind == PEER)
        events = peer_events(file->world);
    else if (file->kind == TERMINAL)
        events = terminal_events(file->world);
    else if (file->kind == LEADER)
        events = file->world->alive ? 0 : EPOLLIN;
    return events & (file->watched | EPOLLHUP | EPOLLERR);
}

/* There is a new reason for these events: epoll reports the descriptor once more if it waits for one of them. */
void edge(int fd, uint32_t events)
{
    if (fd >= 0 && files[fd].watched & events)
        files[fd].pending = true;
}

bool events_wait(void)
{
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].kind != FREE && files[fd].pending && ready(&files[fd]))
            return true;
    return false;
}

/* -- bytes -- */

/* What the program prints depends on place and world, so a misplaced byte or one of another world is noticed. */
uint8_t pattern(const struct world *world, size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 13 + (size_t)number_of(world) * 101);
}

/* The relay has read this byte from the client. */
static void model_input(struct world *world, uint8_t byte)
{
    long found = world->framed ? model_byte(&world->frames, byte) : -1 - (long)byte;
    if (found < 0)
        typed_bytes[number_of(world)][world->typed_wanted++] = (uint8_t)(-1 - found);
}

/* The kernel moves up to `most` printed bytes to where a read of the master sees them, which makes an edge. */
bool terminal_flushes(struct world *world, size_t most)
{
    size_t coming = world->printed - world->flushed, room = QUEUE_HOLDS - (world->flushed - world->read);
    most = most < room ? most : room;
    coming = coming < most ? coming : most;
    world->flushed += coming;
    if (coming > 0)
        edge(world->terminal, EPOLLIN);
    return coming > 0;
}

/* The bytes that a read of the master finds. A read of an empty queue makes the kernel flush first. */
static size_t terminal_waits(struct world *world)
{
    if (world->flushed == world->read)
        terminal_flushes(world, QUEUE_HOLDS);
    return world->flushed - world->read;
}

/* Reads from a peer or a terminal, with the result of read(2). */
ssize_t source_read(struct file *file, uint8_t *data, size_t size)
{
    struct world *world = file->world;
    size_t waits = file->kind == PEER ? world->arrived - world->taken : terminal_waits(world);
    if (waits == 0) {
        if (file->kind == PEER)
            return world->vanished || (world->end_sent && world->arrived == world->sent) ? 0 : fail(EAGAIN);
        world->saw_eio = world->saw_eio || !world->slave_open;
        return fail(world->slave_open ? EAGAIN : EIO);
    }
    size = size < waits ? size : waits;
    for (size_t index = 0; index < size; index++) {
        if (file->kind == TERMINAL) {
            data[index] = pattern(world, world->read++);
        } else {
            data[index] = sent_bytes[number_of(world)][world->taken++];
            if (world->terminal >= 0)
                model_input(world, data[index]);
        }
    }
    machine.progress += size;
    if (file->kind == TERMINAL)
        terminal_flushes(world, QUEUE_HOLDS);   /* the read made room in the queue */
    return (ssize_t)size;
}

static void client_receives(struct world *world, const uint8_t *data, size_t size)
{
    for (size_t index = 0; index < size; index++)
        REQUIRE(data[index] == pattern(world, world->received + index), "output arrives as it was printed");
    world->received += size;
    world->socket_room -= size;
}

static void terminal_receives(struct world *world, const uint8_t *data, size_t size)
{
    if (world->asked_veof) {
        bool ends_line = size == 1 && !world->icanon && (data[0] == '\r' || data[0] == VKILL_CHARACTER);
        bool ends_input = size <= 2 && data[0] == VEOF_CHARACTER;
        REQUIRE(ends_line || ends_input, "an end of input is one or two VEOF characters, or the end of a line before");
        REQUIRE(world->typed == world->typed_wanted || world->write_failed, "the end of input comes after all input");
        return;
    }
    REQUIRE(size <= world->typed_wanted - world->typed, "no more is typed than the client sent");
    REQUIRE(memcmp(data, typed_bytes[number_of(world)] + world->typed, size) == 0, "input is typed as it was sent");
    world->typed += size;
    world->terminal_room -= size;
}

/* Writes to a peer or a terminal, with the result of write(2). */
ssize_t target_write(struct file *file, const uint8_t *data, size_t size)
{
    struct world *world = file->world;
    size_t room = file->kind == PEER ? world->socket_room : world->terminal_room;
    if (file->kind == PEER ? world->vanished : !world->slave_open) {
        world->write_failed = true;
        return fail(file->kind == PEER ? EPIPE : EIO);
    }
    REQUIRE(file->kind != PEER || !world->shut, "the relay writes nothing after its half-close");
    if (room == 0)
        return fail(EAGAIN);
    size = size < room ? size : room;
    if (file->kind == PEER)
        client_receives(world, data, size);
    else
        terminal_receives(world, data, size);
    machine.progress += size;
    return (ssize_t)size;
}

/* -- the client -- */

static void send_bytes(struct world *world, const uint8_t *bytes, size_t size)
{
    if (world->end_sent || world->vanished || world->sent + size > SENT_MOST)
        return;
    memcpy(sent_bytes[number_of(world)] + world->sent, bytes, size);
    if (world->sent == 0 && size > 0) /* no other first byte: such a client is refused (fastpty/wire/strays.pxd) */
        sent_bytes[number_of(world)][0] = world->framed ? 0 : 1;
    world->sent += size;
}

void client_sends_frame(struct world *world)
{
    static const uint8_t kinds[] = {0, 0, 0, 0, 1, 2, 9, 64, 65, 100, 101, 102, 255};
    uint8_t modifier2 = kinds[decide() % sizeof kinds], bytes[4 + 65535];
    size_t size = amount(65535), payload = modifier2 == 0 ? size : 0;
    bytes[0] = 0;
    bytes[1] = size & 255;
    bytes[2] = (uint8_t)(size >> 8);
    bytes[3] = modifier2;
    for (size_t index = 0; index < payload; index++)
        bytes[4 + index] = (uint8_t)(world->sent + index * 5);
    send_bytes(world, bytes, 4 + payload);
}

void client_sends_noise(struct world *world)
{
    uint8_t bytes[16];
    size_t size = decide() % sizeof bytes;
    for (size_t index = 0; index < size; index++)
        bytes[index] = decide();
    send_bytes(world, bytes, size);
}

void client_sends_plain(struct world *world)
{
    uint8_t bytes[65536];
    size_t size = amount(sizeof bytes);
    for (size_t index = 0; index < size; index++)
        bytes[index] = (uint8_t)(world->sent * 3 + index);
    send_bytes(world, bytes, size);
}

/* Up to `most` of the bytes that the client has sent reach the socket, and its half-close behind the last of them. */
void bytes_arrive(struct world *world, size_t most)
{
    size_t coming = world->sent - world->arrived;
    size_t size = coming < most ? coming : most;
    world->arrived += size;
    bool end_arrives = world->end_sent && world->arrived == world->sent && !world->end_arrived;
    world->end_arrived = world->end_arrived || end_arrives;
    if (size > 0 || end_arrives)
        edge(world->peer, EPOLLIN);
}

void client_half_closes(struct world *world)
{
    world->end_sent = true;
    bytes_arrive(world, SENT_MOST);
}

void client_vanishes(struct world *world)
{
    world->vanished = true;
    world->socket_room = 0;
    edge(world->peer, EPOLLIN);
}

void socket_gets_room(struct world *world, size_t size)
{
    if (world->vanished)
        return;
    world->socket_room += size;
    edge(world->peer, EPOLLOUT);
}

/* -- the program and its terminal -- */

void program_prints(struct world *world, size_t size)
{
    size_t held = world->printed - world->read;
    if (!world->slave_open || held >= PTY_HOLDS)
        return;
    world->printed += size < PTY_HOLDS - held ? size : PTY_HOLDS - held;
    if (world->alive)
        world->printed_at_exit = world->printed;
}

void terminal_gets_room(struct world *world, size_t size)
{
    world->terminal_room += size;
    if (size > 0)
        edge(world->terminal, EPOLLOUT);
}

void leader_exits(struct world *world)
{
    if (!world->alive)
        return;
    world->alive = false;
    if (!world->job || !world->group_alive)
        world->slave_open = false;
    edge(world->leader, EPOLLIN);
    edge(world->terminal, EPOLLIN);
}

void slave_closes(struct world *world)
{
    world->slave_open = false;
    world->group_alive = false;
    edge(world->terminal, EPOLLIN);
}

static bool is_fatal(const struct world *world, int number)
{
    return number == SIGKILL || (number == SIGHUP && !world->deaf);
}

void signal_leader(struct world *world, int number)
{
    if (is_fatal(world, number))
        leader_exits(world);
}

void signal_job(struct world *world, int number)
{
    if (!is_fatal(world, number) || !world->group_alive)
        return;
    world->group_alive = false;
    if (!world->alive)
        world->slave_open = false;
    edge(world->terminal, EPOLLIN);
}
