"""What a child writes into its report pipe if it cannot execute its program. execve(2) closes the pipe."""

from libc.stdint cimport int32_t

cdef enum ReportedStep:
    STEP_PREPARE          # anything before the other two
    STEP_DIRECTORY
    STEP_EXECUTE

cdef struct StartReport:
    int32_t error         # an errno
    int32_t step
