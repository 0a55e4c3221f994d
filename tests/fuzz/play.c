/* Plays a fuzzer's input: each byte decides what happens next in one of the worlds, or lets the relay take a turn.
 *
 * Every reason to go on makes an edge, as epoll(7) promises. So if the relay would sleep although a program has printed
 * and its client has room, it has lost a wake-up. When the input is used up the machine becomes friendly, and every
 * session must end. */

#include "world.h"

/* IDLE_TURNS_MOST: a buffer of 64 KiB can hold 16,384 frames without a payload, and the relay obeys 16 of them a turn.
 * Such a turn may make no call that counts as progress. */
/* CLOSED_LOOK_MS: lifecycle.pxd. */
enum { CLOSED_LOOK_MS = 50, ACTS = 20, FRIENDLY_TURNS_MOST = 20000, IDLE_TURNS_MOST = WORLDS_MOST * 1024 + 64 };

void door_open(int epoll_fd, int splice, int64_t idle_ns, int64_t grace_ns, int64_t busy_poll_ns,
               uint32_t buffer_bytes);
int door_session(int world, int peer, int terminal, int leader, int pidfd, int framed);
int door_extended_session(int world, int peer);
int door_refusal(int world, int peer, const uint8_t *text, uint32_t size);
int door_timeout_ms(void);
void door_turn(void);
void door_stop(void);
void door_background_ended(int world);
uint32_t door_live(void);
void door_close(void);

bool tracing;

static const uint8_t *input;
static size_t input_left;
static unsigned worlds_begun;

/* -- decisions -- */

uint8_t decide(void)
{
    if (input_left == 0)
        return 0;
    input_left--;
    return *input++;
}

size_t amount(size_t most)
{
    size_t byte = decide();
    size_t chosen = byte < 128 ? byte : (byte - 127) * 509;
    return chosen < most ? chosen : most;
}

size_t some(size_t most)
{
    size_t left_out = amount(most);
    return left_out < most ? most - left_out : 1;
}

/* -- the beginning and the end of a world -- */

static bool begin_refusal(struct world *world)
{
    uint8_t text[200];
    world->printed = world->printed_at_exit = world->read = sizeof text;
    for (size_t index = 0; index < sizeof text; index++)
        text[index] = pattern(world, index);
    return door_refusal(number_of(world), world->peer, text, sizeof text);
}

static bool begin_session(struct world *world)
{
    int number = number_of(world);
    world->alive = world->slave_open = true;
    world->terminal_room = amount(8192);
    world->terminal = open_file(TERMINAL, world, NULL);
    world->leader = open_file(LEADER, world, NULL);
    return door_session(number, world->peer, world->terminal, LEADERS + number, world->leader, world->framed);
}

/* The program of a client of the extension, which asked for it with START. */
int64_t kernel_wants_program(int number, int *terminal, int *leader, int *pidfd, int *report, int *streams)
{
    struct world *world = &worlds[number];
    REQUIRE(world->start_sent && !world->requested, "a program is asked for once, after START");
    world->requested = world->alive = world->slave_open = true;
    world->group_alive = world->job;
    world->terminal_room = amount(8192);
    uint8_t traits = decide();
    streams[0] = -1;
    if (traits & 64)
        begin_streams(world, streams, traits);
    else
        *terminal = world->terminal = open_file(TERMINAL, world, NULL);
    *pidfd = world->leader = open_file(LEADER, world, NULL);
    *leader = LEADERS + number;
    world->start = traits % 2 ? START_PENDING : START_EXECUTED;
    world->report = world->start == START_PENDING ? open_file(REPORT, world, NULL) : -1;
    *report = world->report;
    return world->drain_ns;
}

static bool begin_extended(struct world *world)
{
    world->group_alive = false;
    world->framed = false;
    world->window = (machine.buffer_bytes < 2 * PAGE ? machine.buffer_bytes / 2 : machine.buffer_bytes - PAGE);
    return door_extended_session(number_of(world), world->peer);
}

static void begin_world(void)
{
    uint8_t traits = decide();
    struct world *world = &worlds[worlds_begun];
    if (worlds_begun == WORLDS_MOST)
        return;
    worlds_begun++;
    *world = (struct world){.used = true, .start = START_EXECUTED, .terminal = -1, .leader = -1, .report = -1,
                             .stdin_fd = -1, .streams = {{.fd = -1}, {.fd = -1}}};
    world->framed = traits & 1;
    world->deaf = traits & 2;
    world->job = world->group_alive = traits & 4;
    world->icanon = traits & 8;
    world->refused = (traits & 48) == 48;
    world->traced = (traits & 64) && !machine.stopped;   /* a router that stops begins no session */
    world->peer = open_file(PEER, world, NULL);
    world->socket_room = amount(65536);
    world->extended = !world->refused && traits & 128;
    bool begun = world->refused ? begin_refusal(world) : world->extended ? begin_extended(world) : begin_session(world);
    TRACE("world %d: begun %d, traits %x, peer %d, terminal %d, leader %d, socket room %zu, terminal room %zu\n",
          number_of(world), begun, traits, world->peer, world->terminal, world->leader, world->socket_room,
          world->terminal_room);
    if (begun)
        return;
    world->ended = true;
    for (int fd = FIRST_FD; fd < FILES_MOST; fd++)
        if (files[fd].world == world) {
            files[fd].passed = true;
            kernel_close(fd);
        }
}

void kernel_ended(int number, int exited, uint64_t bytes_in, uint64_t bytes_out)
{
    struct world *world = &worlds[number];
    TRACE("world %d: ended, %d, %zu bytes in, %zu out\n", number, exited, (size_t)bytes_in, (size_t)bytes_out);
    REQUIRE(!world->ended, "a session ends once");
    world->ended = true;
    machine.progress++;
    REQUIRE(world->peer < 0 && world->leader < 0, "an ended session leaves no descriptor open");
    REQUIRE(world->terminal < 0 || machine.stopped, "only a stop leaves a terminal open that could not be passed");
    REQUIRE(!world->alive, "an ended session leaves no leader alive");
    REQUIRE(world->stdin_fd < 0 && world->streams[0].fd < 0 && world->streams[1].fd < 0, "nor a stream");
    REQUIRE(bytes_out == world->received + streams_received(world), "the relay counts the bytes that a client received");
    REQUIRE(bytes_in == world->typed, "the relay counts the bytes that a program received");
    if (world->extended)
        check_extended_end(world);
    if (exited && !world->exec && !world->refused && (!world->extended || world->started))
        REQUIRE(world->received >= world->printed_at_exit, "what a program printed before its exit arrives");
}

/* -- turns -- */

/* The relay sleeps for `timeout_ms`. */
static void check_no_wakeup_is_lost(const struct world *world, int timeout_ms)
{
    if (!world->used || world->ended || world->vanished)
        return;
    if ((world->terminal < 0 && world->streams[0].fd < 0 && world->streams[1].fd < 0) || world->hung_up)
        return;   /* the session is over: deadlines end it */
    if (world->exec && world->start == START_EXECUTED) {
        check_streams_wakeup(world, timeout_ms);
        return;
    }
    if (world->extended)
        REQUIRE(world->arrived == world->taken, "what a client of the extension sends is read");
    if (world->start != START_EXECUTED)
        return;   /* the terminal is not looked at before the program runs */
    bool delivered = world->read == world->received && world->socket_room > 0;
    bool held = world->alive && (world->write_refused || world->told_closed) && world->typed_wanted > world->typed;
    bool soon = timeout_ms >= 0 && timeout_ms <= CLOSED_LOOK_MS + 1;
    if (held || (world->saw_end && delivered)) {
        REQUIRE(soon, "a closed terminal is looked at again soon");
        return;
    }
    /* A terminal that was closed, opened and closed again may have ended for the relay without EIO. */
    bool waits = world->flushed > world->read || !(world->slave_open || world->saw_end || (world->told_closed && soon));
    REQUIRE(!(waits && world->socket_room > 0 && world->read == world->received), "output goes on if it has room");
    REQUIRE(!(world->read > world->received && world->socket_room > 0), "output that the relay holds goes out");
    if (!world->slave_open)
        return;
    bool takes = world->arrived > world->taken && world->typed == world->typed_wanted;
    REQUIRE(!(takes && world->terminal_room > 0), "input goes on if it has room");
    REQUIRE(!(world->typed_wanted > world->typed && world->terminal_room > 0), "input that the relay holds is typed");
    bool has_ended = world->end_sent && world->taken == world->sent && world->typed == world->typed_wanted;
    bool looks_soon = soon && (world->saw_end || world->told_closed);   /* it takes the terminal for closed */
    REQUIRE(!has_ended || world->end_was_typed || looks_soon, "the end of input is passed on");
}

/* One turn of the relay. If it would sleep, nothing may be left to do. With `clock_runs` it sleeps its timeout. */
static void turn(bool clock_runs)
{
    static unsigned idle_turns;
    uint64_t before = machine.progress;
    int timeout_ms = door_timeout_ms();
    bool asleep = timeout_ms != 0 && !events_wait();
    /* After a failed allocation the relay pauses some milliseconds. */
    bool starved = machine.memory_failed && timeout_ms > 0 && timeout_ms <= 21;
    if (asleep && !starved) {
        for (int index = 0; index < WORLDS_MOST; index++)
            check_no_wakeup_is_lost(&worlds[index], timeout_ms);
    }
    if (asleep && (clock_runs || starved) && timeout_ms > 0)
        machine.now_ns += (int64_t)timeout_ms * MILLISECOND;
    TRACE("turn, timeout %d\n", timeout_ms);
    door_turn();
    idle_turns = timeout_ms == 0 && machine.progress == before ? idle_turns + 1 : 0;
    REQUIRE(idle_turns < IDLE_TURNS_MOST, "the relay does not turn in vain");
}

static void background_ends(struct world *world)
{
    if (world->hangs_up)
        door_background_ended(number_of(world));
    world->hangs_up = false;
}

static void act(struct world *world, unsigned what)
{
    TRACE("world %d: act %d\n", number_of(world), what);
    switch (what) {
    case 0: world->extended ? extended_sends_input(world) : client_sends_plain(world); break;
    case 1: world->extended ? extended_sends_frame(world) : client_sends_frame(world); break;
    case 2: client_sends_noise(world); break;
    case 3: bytes_arrive(world, amount(SENT_MOST)); break;
    case 4: bytes_arrive(world, SENT_MOST); break;
    case 5:
        world->exec ? stream_prints(world, decide() % 2, amount(65536)) : program_prints(world, amount(PTY_HOLDS));
        break;
    case 6: terminal_flushes(world, amount(PTY_HOLDS)); break;
    case 7:
        if (world->exec)
            stream_prints(world, decide() % 2, 65536);
        else
            program_prints(world, PTY_HOLDS), terminal_flushes(world, PTY_HOLDS);
        break;
    case 8: socket_gets_room(world, amount(65536)); break;
    case 9: terminal_gets_room(world, amount(8192)); break;
    case 10: client_half_closes(world); break;
    case 11: client_vanishes(world); break;
    case 12: leader_exits(world); break;
    case 13: world->exec ? stream_closes(world, decide() % 3) : world->slave_open ? slave_closes(world) : slave_reopens(world); break;
    case 14: world->icanon = !world->icanon; world->job = world->group_alive; break;
    case 15: world->traced = false; break;   /* without an edge: the relay has to try again by itself */
    case 16: start_settles(world, START_EXECUTED); break;
    case 17: start_settles(world, START_FAILED); break;
    case 18: background_ends(world); break;
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
            machine.now_ns += (int64_t)amount(65536) * MILLISECOND;
        else if (choice == 0xE7) {
            machine.stopped = true;
            door_stop();
        } else if (choice >= WORLDS_MOST * ACTS)
            turn(false);
        else if (worlds[choice / ACTS].used && !worlds[choice / ACTS].ended)
            act(&worlds[choice / ACTS], choice % ACTS);
    }
}

/* Everything arrives, there is room, and the program prints the rest and exits; with a deaf one the client leaves. */
static void be_friendly(struct world *world)
{
    if (!world->used || world->ended)
        return;
    if (world->deaf)
        client_vanishes(world);
    background_ends(world);
    world->traced = world->traced && machine.stopped;   /* a stop must not wait for a tracer */
    if (world->extended)
        start_settles(world, START_EXECUTED);
    bytes_arrive(world, SENT_MOST);
    socket_gets_room(world, 1 << 20);
    if (!world->exec || world->terminal_room == 0)   /* an exec's input stays open for a while: no edges for ever */
        terminal_gets_room(world, 8192);
    terminal_flushes(world, PTY_HOLDS);
    if (!world->deaf && !world->refused && (!world->extended || world->started))
        leader_exits(world);
    if (world->exec && world->started && !world->alive)
        signal_job(world, SIGKILL);
    if (world->shut)
        client_vanishes(world);
}

static void play_friendly(void)
{
    machine.short_of_memory = machine.short_of_pipes = machine.interrupts = false;
    for (int turns = 0; door_live() > 0; turns++) {
        REQUIRE(turns < FRIENDLY_TURNS_MOST, "every session ends");
        for (int index = 0; index < WORLDS_MOST; index++)
            be_friendly(&worlds[index]);
        turn(true);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tracing = getenv("FASTPTY_FUZZ_TRACE") != NULL;
    input = data;
    input_left = size;
    worlds_begun = 0;
    reset_machine();
    uint8_t traits = decide();
    machine.short_of_memory = (traits & 3) == 3;
    machine.short_of_pipes = traits & 4;
    machine.interrupts = traits & 8;
    machine.no_splice_from_tty = (traits & 48) == 48;
    machine.no_splice_to_tty = (traits & 48) == 32;
    int epoll_fd = open_file(EPOLL, NULL, NULL);
    bool short_timeouts = traits & 128;
    machine.buffer_bytes = (traits & 48) == 16 ? PAGE : 16 * PAGE;
    door_open(epoll_fd, !(traits & 64), short_timeouts ? 3000ll * MILLISECOND : 0, 1000ll * MILLISECOND,
              short_timeouts ? MILLISECOND / 10 : 0, machine.buffer_bytes);
    begin_world();
    play();
    play_friendly();
    door_close();
    for (int fd = epoll_fd + 1; fd < FILES_MOST; fd++)
        REQUIRE(files[fd].kind == FREE || (machine.stopped && files[fd].kind == TERMINAL), "no descriptor stays open");
    return 0;
}
