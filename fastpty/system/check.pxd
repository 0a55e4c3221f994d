"""Assertions of the C part. A debug or sanitize build checks them and aborts; a release build leaves them out.

setup.py defines FASTPTY_CHECKED for the checked builds. The tests look for the words "internal error".
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
    # A release build does not evaluate the condition, so it must not have side effects.
    void check "fastpty_check"(bint condition, const char *promise) noexcept nogil
