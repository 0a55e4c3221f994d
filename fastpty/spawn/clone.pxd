"""clone3(2), which can start a child in another cgroup; clone(2) cannot.

The C library has no wrapper. A child that shares its parent's memory must not return on the parent's stack, so the call
is written in assembly for x86-64 and arm64. On other processors it fails with ENOSYS, as it does under valgrind and
filters of container engines (old filters return EPERM).
"""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/syscall.h>

    /* linux/sched.h, struct clone_args as of Linux 5.7, which older headers do not have whole. */
    struct fastpty_clone_args {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
        uint64_t cgroup;
    };

    #define FASTPTY_CLONE_INTO_CGROUP 0x200000000ULL
    #ifndef SYS_clone3
    #define SYS_clone3 435
    #endif

    #if defined(__x86_64__)
    static long fastpty_raw_clone3(struct fastpty_clone_args *args, int (*child)(void *), void *argument)
    {
        register long result __asm__("rax") = SYS_clone3;
        register struct fastpty_clone_args *first __asm__("rdi") = args;
        register size_t second __asm__("rsi") = sizeof *args;
        register int (*kept_child)(void *) __asm__("r8") = child;
        register void *kept_argument __asm__("r9") = argument;
        __asm__ volatile(
            "syscall\\n\\t"
            "testq %%rax, %%rax\\n\\t"
            "jnz 1f\\n\\t"
            "xorl %%ebp, %%ebp\\n\\t"
            "movq %%r9, %%rdi\\n\\t"
            "callq *%%r8\\n\\t"
            "movl %%eax, %%edi\\n\\t"
            "movl $231, %%eax\\n\\t"             /* exit_group */
            "syscall\\n\\t"
            "hlt\\n"
            "1:"
            : "+r"(result)
            : "r"(first), "r"(second), "r"(kept_child), "r"(kept_argument)
            : "rcx", "r11", "memory", "cc");
        return result;
    }
    #elif defined(__aarch64__)
    static long fastpty_raw_clone3(struct fastpty_clone_args *args, int (*child)(void *), void *argument)
    {
        register long number __asm__("x8") = SYS_clone3;
        register long result __asm__("x0") = (long)args;
        register size_t second __asm__("x1") = sizeof *args;
        register int (*kept_child)(void *) __asm__("x2") = child;
        register void *kept_argument __asm__("x3") = argument;
        __asm__ volatile(
            "svc #0\\n\\t"
            "cbnz x0, 1f\\n\\t"
            "mov x29, xzr\\n\\t"
            "mov x0, x3\\n\\t"
            "blr x2\\n\\t"
            "mov x8, #94\\n\\t"                  /* exit_group */
            "svc #0\\n\\t"
            "brk #0\\n"
            "1:"
            : "+r"(result)
            : "r"(number), "r"(second), "r"(kept_child), "r"(kept_argument)
            : "memory", "cc");
        return result;
    }
    #else
    static long fastpty_raw_clone3(struct fastpty_clone_args *args, int (*child)(void *), void *argument)
    {
        (void)args, (void)child, (void)argument;
        return -ENOSYS;
    }
    #endif
    """
    struct CloneArgs "fastpty_clone_args":
        uint64_t flags
        uint64_t pidfd         # int *
        uint64_t exit_signal
        uint64_t stack         # its lowest address
        uint64_t stack_size
        uint64_t cgroup        # descriptor of its directory
    enum:
        CLONE_INTO_CGROUP "FASTPTY_CLONE_INTO_CGROUP"
    # Returns the child's pid or -errno. The child calls `child` on the new stack and exits with its result.
    long raw_clone3 "fastpty_raw_clone3"(CloneArgs *args, int (*child)(void *) noexcept nogil, void *argument) nogil
