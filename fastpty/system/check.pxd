"""Assertions of the C part. In a debug or sanitize build a failed one aborts; in a release build they do nothing.

setup.py defines FASTPTY_CHECKED for these builds. The tests look for the words "internal error".
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
    # The release build does not evaluate the condition, so it must have no side effect.
    void check "fastpty_check"(bint condition, const char *promise) noexcept nogil
