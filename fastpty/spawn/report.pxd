"""What a child writes into its report pipe if it cannot execute its program, or if it executes none.

execve(2) closes the pipe.
"""

from libc.stdint cimport int32_t

cdef enum ReportedStep:
    STEP_PREPARE          # anything before the other two
    STEP_DIRECTORY
    STEP_EXECUTE
    STEP_WORK             # no failure: the child runs its work now, instead of a program

cdef struct StartReport:
    int32_t error         # an errno, or 0
    int32_t step
