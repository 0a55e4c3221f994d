/* REQUIRE ends the process where a promise is broken, which a fuzzer reports as a crash. */
#ifndef FASTPTY_FUZZ_REQUIRE_H
#define FASTPTY_FUZZ_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition, promise) do { \
    if (!(condition)) { \
        fprintf(stderr, "broken: %s (%s:%d)\n", promise, __FILE__, __LINE__); \
        abort(); \
    } \
} while (0)

#endif
