"""Assertions of the C part: in a debug or sanitize build they end the process, in a release they are nothing.

setup.py defines FASTPTY_CHECKED for these builds. The line says "internal error", which the tests look for.
"""

cdef extern from *:
    """
    #ifdef FASTPTY_CHECKED
    #include <stdio.h>
    #include <stdlib.h>
    #define fastpty_check(condition, promise) do { \\
        if (!(condition)) { \\
            fprintf(stderr, "fastpty-router: internal error: not so: %s\\n", promise); \\
            abort(); \\
        } \\
    } while (0)
    #else
    #define fastpty_check(condition, promise) ((void)0)
    #endif
    """
    # The condition is not evaluated in the release build: it must have no effect.
    void check "fastpty_check"(bint condition, const char *promise) noexcept nogil
