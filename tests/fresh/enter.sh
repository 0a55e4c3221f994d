# Enters the root of a fresh system, in the namespaces that run.sh made, and runs the README's commands there.
set -eu
root=$1 packages=$2 certificates=$3 account=$4 checkout=$5

mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
[ ! -d /sys/fs/cgroup ] || mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t tmpfs -o nosuid,mode=755 dev dev
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    numbers=${device#*:}
    mknod -m 666 "dev/${device%%:*}" c "${numbers%:*}" "${numbers#*:}"
done
mkdir -m 1777 dev/shm
mkdir dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm dev/shm
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=666,gid=5,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"; done

# Shares with the machine: its certificates, its locks (tests on both sides must not change kernel settings at the same
# time), and the directories that pip's settings name.
visible() {  # WHAT WHERE: mounts WHAT read-only at WHERE, if WHAT exists
    [ -e "$1" ] || return 0
    if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "$(dirname "$2")" && touch "$2"; fi
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}
mount -t tmpfs -o nosuid,nodev,mode=755 run run
[ -z "$certificates" ] || visible "$certificates" run/machine/certificates
visible "${FASTPTY_TEST_LOCKS:-/proc/sys/kernel/pty}" run/machine/locks
tr ' ' '\n' <etc/pip.conf | sed 's|^file://||' | grep ^/ | sort -u | while read -r path; do
    case $path in
    /run/machine/*) ;;
    */simple) visible "${path%/simple}" ".${path%/simple}" ;; # an index, whose files may lie beside it
    *) visible "$path" ".$path" ;;
    esac
done
mount --bind "$packages" var/cache/apt/archives

hostname fresh
mkdir .before
pivot_root . .before
cd /
umount -l .before
rmdir .before
for name in http_proxy https_proxy no_proxy; do
    eval "value=\${$name:-}"
    set -- "$@" ${value:+"$name=$value"}
done
shift 5
exec env -i HOME=/root USER=root LOGNAME=root TERM=linux PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    FASTPTY_TEST_LOCKS=/run/machine/locks "$@" sh "$checkout/tests/fresh/commands.sh" "$account" "$checkout"
