/* Puts the simulated kernel of kernel.c in the place of libc's calls, in a file compiled with `-include kernel.h` and
 * -DFASTPTY_SIMULATED. The system's headers come before the macros, so that only calls are renamed. */
#ifndef FASTPTY_FUZZ_KERNEL_H
#define FASTPTY_FUZZ_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

ssize_t kernel_read(int fd, void *data, size_t size);
ssize_t kernel_write(int fd, const void *data, size_t size);
ssize_t kernel_writev(int fd, const struct iovec *pieces, int count);
ssize_t kernel_send(int fd, const void *data, size_t size, int flags);
int kernel_setsockopt(int fd, int level, int option, const void *value, socklen_t size);
ssize_t kernel_splice(int source, off_t *from, int target, off_t *to, size_t size, unsigned flags);
int kernel_close(int fd);
int kernel_pipe2(int *ends, int flags);
int kernel_shutdown(int fd, int how);
int kernel_poll(struct pollfd *polled, unsigned long count, int timeout_ms);
ssize_t kernel_sendmsg(int queue, const struct msghdr *message, int flags);
int kernel_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int kernel_epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout_ms);
int kernel_ioctl(int fd, unsigned long request, ...);
int kernel_tcgetattr(int fd, struct termios *attributes);
pid_t kernel_tcgetpgrp(int fd);
int kernel_kill(pid_t pid, int number);
pid_t kernel_getsid(pid_t pid);
pid_t kernel_tcgetsid(int fd);
long kernel_syscall(long number, ...);
int kernel_waitid(int kind, unsigned number, siginfo_t *info, int options);
int kernel_clock_gettime(int clock, struct timespec *now);
int kernel_sched_yield(void);
void *kernel_malloc(size_t size);
void *kernel_calloc(size_t count, size_t size);
void *kernel_realloc(void *old, size_t size);

/* A client of the extension has asked for a program. Gives its terminal, leader and report pipe; report: -1 for none. */
int64_t kernel_wants_program(int world, int *terminal, int *leader, int *pidfd, int *report, int *streams);

/* The door calls this after the relay has released everything of a session. */
void kernel_ended(int world, int exited, uint64_t bytes_in, uint64_t bytes_out);

#ifdef FASTPTY_SIMULATED
#include <Python.h>
#define read kernel_read
#define write kernel_write
#define writev kernel_writev
#define send kernel_send
#define setsockopt kernel_setsockopt
#define splice kernel_splice
#define close kernel_close
#define pipe2 kernel_pipe2
#define shutdown kernel_shutdown
#define poll kernel_poll
#define sendmsg kernel_sendmsg
#define epoll_ctl kernel_epoll_ctl
#define epoll_wait kernel_epoll_wait
#define ioctl kernel_ioctl
#define tcgetattr kernel_tcgetattr
#define tcgetpgrp kernel_tcgetpgrp
#define kill kernel_kill
#define getsid kernel_getsid
#define tcgetsid kernel_tcgetsid
#define syscall kernel_syscall
#define waitid kernel_waitid
#define clock_gettime kernel_clock_gettime
#define sched_yield kernel_sched_yield
#define malloc kernel_malloc
#define calloc kernel_calloc
#define realloc kernel_realloc
#endif

#endif
