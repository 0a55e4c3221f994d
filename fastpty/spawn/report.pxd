"""What a child tells through its report pipe, which execve(2) closes."""

from libc.stdint cimport int32_t

cdef enum ReportedStep:
    STEP_PREPARE          # anything before the other two
    STEP_DIRECTORY
    STEP_EXECUTE

# The child writes one with error 0 just before it executes the program, and one with the errno if something fails.
cdef struct StartReport:
    int32_t error
    int32_t step
