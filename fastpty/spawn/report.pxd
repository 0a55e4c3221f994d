"""What a child tells through its report pipe, which execve(2) closes."""

from libc.stdint cimport int32_t

# The child writes one with error 0 just before it executes the program, and one with the errno if something fails.
cdef struct StartReport:
    int32_t error
    int32_t executes      # 1: execve(2) has failed; 0: something before it
