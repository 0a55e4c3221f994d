"""Opens files in a root that another user may control, without crossing a mount or a magic link.

openat2(2), since Linux 5.6, does this.
"""

from libc.errno cimport ENOTTY, errno
from libc.stdint cimport uint64_t
from libc.string cimport memset

from fastpty.system.linux cimport O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR, close, syscall

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/sysmacros.h>
    #include <sys/vfs.h>

    /* linux/openat2.h */
    struct fastpty_open_how { uint64_t flags, mode, resolve; };
    #ifndef SYS_openat2
    #define SYS_openat2 437
    #endif
    #define FASTPTY_RESOLVE_NO_XDEV 0x01
    #define FASTPTY_RESOLVE_NO_MAGICLINKS 0x02
    #define FASTPTY_RESOLVE_BENEATH 0x08

    /* linux/magic.h, fs/proc: the root of a proc file system has the inode number 1. */
    static int fastpty_is_proc(int fd)
    {
        struct statfs system;
        struct stat status;
        return fstatfs(fd, &system) == 0 && system.f_type == 0x9fa0 && fstat(fd, &status) == 0 && status.st_ino == 1;
    }

    /* linux/magic.h, DEVPTS_SUPER_MAGIC */
    static int fastpty_is_devpts(int fd)
    {
        struct statfs system;
        return fstatfs(fd, &system) == 0 && system.f_type == 0x1cd1;
    }

    /* The kernel's list of devices: each open of device 5:2 makes a new terminal. */
    static int fastpty_is_ptmx(int fd)
    {
        struct stat status;
        return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(5, 2);
    }

    static int fastpty_holds(const char *directory, int fd)
    {
        struct stat there, opened;
        return stat(directory, &there) == 0 && fstat(fd, &opened) == 0 && there.st_dev == opened.st_dev;
    }
    """
    enum:
        O_DIRECTORY
        O_PATH
        SYS_openat2
        RESOLVE_BENEATH "FASTPTY_RESOLVE_BENEATH"
        RESOLVE_NO_MAGICLINKS "FASTPTY_RESOLVE_NO_MAGICLINKS"
        RESOLVE_NO_XDEV "FASTPTY_RESOLVE_NO_XDEV"
    struct OpenHow "fastpty_open_how":
        uint64_t flags
        uint64_t resolve
    bint is_devpts "fastpty_is_devpts"(int fd) nogil
    bint is_proc "fastpty_is_proc"(int fd) nogil
    bint is_ptmx "fastpty_is_ptmx"(int fd) nogil
    # Whether `fd` is a file of the file system that is mounted on `directory`.
    bint file_system_holds "fastpty_holds"(const char *directory, int fd) nogil


cdef inline int open_below(int directory, const char *path, int flags) noexcept nogil:
    """Opens a path below `directory` that crosses no mount and no magic link. Returns -1 with errno set."""
    cdef OpenHow how
    memset(&how, 0, sizeof(how))
    how.flags = <uint64_t>(flags | O_CLOEXEC)
    how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH
    return <int>syscall(SYS_openat2, directory, path, &how, sizeof(how))


cdef inline int open_ptmx(int directory) noexcept nogil:
    """Opens the master of a new terminal, non-blocking, from the `ptmx` in this directory. Returns -1 with errno set.

    The file is checked before it is opened, since opening another device could have side effects; and again afterwards,
    since the file could have been replaced meanwhile.
    """
    cdef int fd = open_below(directory, "ptmx", O_PATH)
    if fd < 0:
        return -1
    if is_ptmx(fd):
        close(fd)
        fd = open_below(directory, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK)
        if fd < 0 or is_ptmx(fd):
            return fd
    close(fd)
    (&errno)[0] = ENOTTY
    return -1
