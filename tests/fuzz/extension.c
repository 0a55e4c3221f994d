/* Clients of the negotiated extension: what they send, and what the router may send them.
 *
 * The obligations of docs/protocol.md, part B, section 6, are checked at every byte that a client receives. */

#include "world.h"

#include <endian.h>

enum {
    STDIN_FRAME = 0, START_FRAME = 131, END_INPUT_FRAME = 137, SIZE_FRAME = 138, PING_FRAME = 140,
    OUTPUT_FRAME = 0, STDERR_FRAME = 149, STREAM_ENDED_FRAME = 161, WELCOME_FRAME = 151, STARTED_FRAME = 153, CREDIT_FRAME = 157, PONG_FRAME = 158,
    STATUS_FRAME = 163, ERROR_FRAME = 165, FIRST_WITH_PAYLOAD = 130, GREETING_STDIN = 4096,
};

/* -- the start of the program -- */

/* The report pipe, from a child that has told this much. */
ssize_t report_read(struct world *world, uint8_t *data, size_t size)
{
    int32_t report[2] = {0, 2};
    REQUIRE(size == sizeof report, "a report is read whole");
    if (world->start == START_PENDING)
        return fail(EAGAIN);
    if (world->start != START_FAILED || world->report_reads++ > 0)
        return 0;
    report[0] = ENOENT;
    memcpy(data, report, sizeof report);
    return sizeof report;
}

/* The child executes its program, or ends before that. */
void start_settles(struct world *world, int how)
{
    if (!world->requested || world->start != START_PENDING)
        return;
    world->start = how;
    edge(world->report, EPOLLIN);
    if (how == START_FAILED)
        leader_exits(world);
}

/* -- from the client -- */

void send_frame(struct world *world, uint8_t number, const uint8_t *payload, size_t size)
{
    uint8_t frame[4 + 65535] = {0, (uint8_t)size, (uint8_t)(size >> 8), number};
    memcpy(frame + 4, payload, size);
    send_bytes(world, frame, 4 + size);
}

/* START, or input as far as the window allows; now and then further than that. */
void extended_sends_input(struct world *world)
{
    static uint8_t bytes[65535];
    if (!world->start_sent) {
        world->start_sent = true;
        send_frame(world, START_FRAME, bytes, amount(4000));
        return;
    }
    size_t size = amount(65535);
    if (size > world->window && decide() % 8 != 7)
        size = world->window;
    if (world->sent + 4 + size > SENT_MOST)
        return;
    for (size_t index = 0; index < size; index++)
        bytes[index] = (uint8_t)(world->sent * 3 + index);
    world->window -= size < world->window ? size : world->window;
    send_frame(world, STDIN_FRAME, bytes, size);
}

void extended_sends_frame(struct world *world)
{
    static const uint8_t kinds[] = {SIZE_FRAME, PING_FRAME, 1, 2, 100, 101, 15, 99, 130, END_INPUT_FRAME, 133, START_FRAME};
    uint8_t number = kinds[decide() % sizeof kinds], bytes[300] = {0};
    if (world->exec && decide() % 4 == 3) {
        streams_send_stop(world);
        return;
    }
    size_t size = number == SIZE_FRAME ? 8 : number == PING_FRAME ? decide() % 33 : number == 130 ? amount(300) : 0;
    world->start_sent = world->start_sent || number == START_FRAME;
    send_frame(world, number, bytes, number < FIRST_WITH_PAYLOAD ? 0 : size);
}

/* As model_byte: what one more byte means to the program. */
long extended_model_byte(struct world *world, uint8_t byte)
{
    struct frame_reader *frames = &world->frames_in;
    if (frames->left > 0) {
        frames->left--;
        return frames->header[3] == STDIN_FRAME ? -1 - (long)byte : 0;
    }
    frames->header[frames->header_size++] = byte;
    if (frames->header_size < 4)
        return 0;
    frames->header_size = 0;
    if (frames->header[3] == STDIN_FRAME || frames->header[3] >= FIRST_WITH_PAYLOAD)
        frames->left = frames->header[1] | (unsigned)frames->header[2] << 8;
    return 0;
}

/* -- to the client -- */

static uint64_t number_at(const uint8_t *place)
{
    uint64_t value;
    memcpy(&value, place, sizeof value);
    return le64toh(value);
}

static void check_status(const struct world *world, const uint8_t *payload, unsigned size)
{
    REQUIRE(size == 46, "STATUS has its length");
    REQUIRE(world->started, "STATUS comes after STARTED");
    REQUIRE(number_at(payload + 6) == (world->exec ? world->streams[0].received : world->received) &&
                number_at(payload + 14) == world->streams[1].received,
            "STATUS counts the output that the client has received");
    if (world->exec)
        check_streams_status(world);
    REQUIRE(number_at(payload + 22) == world->typed, "STATUS counts the input that the program has received");
    REQUIRE(!world->alive || world->traced || payload[0] == 4, "STATUS comes after the program's end");
    REQUIRE(world->exec || payload[1] & 2 || world->received >= world->printed_at_exit, "every byte comes before the STATUS");
}

static void frame_is_whole(struct world *world, uint8_t number, const uint8_t *payload, unsigned size)
{
    TRACE("  world %d: frame %d of %u bytes\n", number_of(world), number, size);
    REQUIRE(!world->final, "nothing follows a final frame");
    REQUIRE(world->welcomed || number == WELCOME_FRAME, "WELCOME is the first frame");
    if (number == WELCOME_FRAME) {
        REQUIRE(!world->welcomed && size == 30, "WELCOME comes once");
        world->welcomed = true;
    } else if (number == STARTED_FRAME) {
        REQUIRE(!world->started && world->requested && world->start == START_EXECUTED,
                "STARTED means that the program was executed");
        world->started = true;
    } else if (number == CREDIT_FRAME) {
        REQUIRE(size == 4, "CREDIT has its length");
        world->window += payload[0] | payload[1] << 8 | payload[2] << 16 | (size_t)payload[3] << 24;
        REQUIRE(world->window <= machine.buffer_bytes, "credit never exceeds the window");
    } else if (number == STATUS_FRAME) {
        check_status(world, payload, size);
        world->final = true;
    } else if (number == ERROR_FRAME) {
        world->final = true;
    } else if (number == STREAM_ENDED_FRAME) {
        REQUIRE(size == 1, "STREAM_ENDED has its length");
        stream_ended(world, payload[0]);
    } else if (number == STDERR_FRAME) {
        REQUIRE(world->exec && world->started, "only a program without a terminal has a standard error");
    } else {
        REQUIRE(number == PONG_FRAME || (number == OUTPUT_FRAME && world->started), "the router sends known frames");
    }
}

static bool is_stream(uint8_t number)
{
    return number == OUTPUT_FRAME || number == STDERR_FRAME;
}

static void frame_opens(struct world *world, struct frame_reader *frames)
{
    frames->left = frames->header[1] | (unsigned)frames->header[2] << 8;
    frames->size = frames->header_size = 0;
    REQUIRE(frames->header[0] == 0, "the router's frames are whole messages");
    REQUIRE(is_stream(frames->header[3]) || frames->left <= sizeof frames->payload, "only output frames are long");
    if (is_stream(frames->header[3])) {
        REQUIRE(frames->left > 0, "an output frame carries something");
        frame_is_whole(world, frames->header[3], NULL, frames->left);
    }
}

void extended_receives(struct world *world, const uint8_t *data, size_t size)
{
    struct frame_reader *frames = &world->frames_out;
    for (size_t index = 0; index < size; index++) {
        if (frames->left == 0) {
            frames->header[frames->header_size++] = data[index];
            if (frames->header_size == 4)
                frame_opens(world, frames);
            continue;
        }
        frames->left--;
        if (world->exec && is_stream(frames->header[3])) {
            stream_receives(world, frames->header[3] == STDERR_FRAME, data[index]);
            continue;
        }
        if (frames->header[3] == OUTPUT_FRAME) {
            REQUIRE(data[index] == pattern(world, world->received), "output arrives as it was printed");
            world->received++;
            continue;
        }
        frames->payload[frames->size++] = data[index];
        if (frames->left == 0)
            frame_is_whole(world, frames->header[3], frames->payload, frames->size);
    }
}

/* Called when the relay has released everything of the session. */
void check_extended_end(const struct world *world)
{
    bool could_read = world->socket_room > 0 && !world->vanished;
    bool has_left = world->exec && world->end_sent;   /* exec takes only END_INPUT for the end of the input */
    if (world->requested && could_read && !has_left && !machine.stopped && !machine.memory_failed)
        REQUIRE(world->final, "a session sends a final frame unless its client has gone");
    if (world->final)
        REQUIRE(world->frames_out.left == 0 && world->frames_out.header_size == 0, "a final frame is the last");
}
