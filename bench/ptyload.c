/* The program on the pty: prints its process id, then does what one line of input orders.

   READY PID    its first output, once the terminal is raw
   write N      writes N bytes and ends
   read N       reads N bytes and answers with one byte
   echo         writes what it reads
   flood        writes for ever; ^C ends it
   idle         reads and drops

   Statically linked and without stdio, so that thousands of them need little memory. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536 };

static char chunk[CHUNK_BYTES];

static void make_raw(int keep_signal_keys)
{
    struct termios attributes;
    if (tcgetattr(0, &attributes) != 0)
        _exit(3);
    cfmakeraw(&attributes);
    if (keep_signal_keys)
        attributes.c_lflag |= ISIG;
    tcsetattr(0, TCSANOW, &attributes);
}

static void say(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(1, text, size);
        if (sent < 0)
            _exit(4);
        text += sent;
        size -= sent;
    }
}

static void write_bytes(uint64_t left)
{
    while (left > 0) {
        ssize_t sent = write(1, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES);
        if (sent < 0)
            _exit(4);
        left -= sent;
    }
}

static void read_bytes(uint64_t left)
{
    while (left > 0) {
        ssize_t got = read(0, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES);
        if (got <= 0)
            _exit(5);
        left -= got;
    }
    say("D", 1);
}

static void echo(void)
{
    ssize_t got;
    while ((got = read(0, chunk, CHUNK_BYTES)) > 0)
        say(chunk, got);
}

static void read_order(char *order, size_t room)
{
    size_t size = 0;
    while (size + 1 < room && read(0, order + size, 1) == 1 && order[size] != '\n')
        size++;
    order[size] = 0;
}

int main(void)
{
    char text[64];
    char order[64];
    make_raw(0);
    say(text, snprintf(text, sizeof text, "READY %d\n", (int)getpid()));
    read_order(order, sizeof order);
    if (strncmp(order, "write ", 6) == 0)
        write_bytes(strtoull(order + 6, NULL, 10));
    else if (strncmp(order, "read ", 5) == 0)
        read_bytes(strtoull(order + 5, NULL, 10));
    else if (strcmp(order, "echo") == 0)
        echo();
    else if (strcmp(order, "flood") == 0) {
        make_raw(1);
        write_bytes(UINT64_MAX);
    } else
        while (read(0, chunk, CHUNK_BYTES) > 0)
            ;
    return 0;
}
