# Runs the README's commands on fresh Debian systems:  tests/fresh/run.sh RELEASE[:user]…
#
# For each RELEASE it makes a minimal system, in a root and in namespaces of its own, with only the packages that the README
# names. There `make run` must serve a client, and `make test` must pass; with :user, an ordinary user runs them.
# Needs root and debootstrap. Systems and packages are kept in $XDG_CACHE_HOME or /var/cache.
#
# The mirror, certificates, proxies and pip's settings are those of this machine.
set -eu
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-/var/cache}/fastpty-fresh
mkdir -p "$cache"
scratch=$(mktemp -d "$cache/run.XXXXXX")
inside=
clean_up() {
    if [ -n "$inside" ]; then
        # This ends its namespaces too. unshare(1) ignores SIGTERM. After a failure it has ended already.
        kill -KILL "$inside" 2>/dev/null || true
        wait "$inside" || true
    fi
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The mirror of this machine if it runs Debian, and else the default of debootstrap. A file with the certificates that the
# machine trusts, if there is one.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian Debian //p' | head -n 1)
pip_settings=$(python3 -m pip config list 2>/dev/null || true)
certificates=
for file in "$(printf '%s\n' "$pip_settings" | sed -n "s/^.*\.cert='\(.*\)'$/\1/p" | head -n 1)" \
    "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
    if [ -z "$certificates" ] && [ -f "$file" ]; then certificates=$file; fi
done

# Makes a minimal system of the release $1, once a week. It gets its name only when it is complete.
base() {
    [ -z "$(find "$cache/$1" -maxdepth 0 -mtime -7 2>/dev/null)" ] || return 0
    rm -rf --one-file-system "${cache:?}/$1"
    echo "fresh: making a minimal Debian $1"
    debootstrap --variant=minbase "$1" "$scratch/base" ${mirror:+"$mirror"} >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        exit 1
    }
    mv "$scratch/base" "$cache/$1"
}

# Copies the settings of this machine that the system $1 needs to reach the network. enter.sh sets up the rest.
configure() {
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    cp /etc/hosts "$1/etc/hosts"
    [ -z "$mirror" ] || echo "deb $mirror $release main" >"$1/etc/apt/sources.list"
    {
        apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-|Retries|ForceIPv)' | grep -v '::CaInfo' || true
        [ -z "$certificates" ] || echo "Acquire::https::CaInfo \"/run/machine/certificates\";"
        echo 'APT::Get::Assume-Yes "true";'
    } >"$1/etc/apt/apt.conf.d/90machine"
    # Turns the lines "section.key='value'" of pip's settings into one file. The last value of a key counts.
    printf '%s\n' "$pip_settings" | sed 's/\\n/ /g' | sed -nE "s/^(:env:|[^.]*)\.([^=]*)='(.*)'$/\2 = \3/p" |
        awk -F ' = ' '{ value[$1] = $2 } END { print "[global]"; for (key in value) print key " = " value[key] }' |
        sed 's|^cert = .*|cert = /run/machine/certificates|' >"$1/etc/pip.conf"
}

# Copies the files of this checkout that git knows or would add, with their changes, to $1.
checkout() {
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard |
        tar -c --null --ignore-failed-read -T - 2>/dev/null | tar -x -C "$1"
}

for system; do
    release=${system%:user}
    account=root
    home=/root
    if [ "$release" != "$system" ]; then
        account=visitor
        home=/home/visitor
    fi
    mkdir -p "$cache/packages/$release"
    exec 9>"$cache/$release.lock" # one run at a time uses the release's packages
    flock 9
    base "$release"
    root=$scratch/$release-$account
    cp -a "$cache/$release" "$root"
    configure "$root"
    checkout "$root$home/fastpty"
    echo "fresh: Debian $release, as $account"
    began=$(date +%s)
    unshare --mount --pid --uts --ipc --fork --kill-child --propagation private \
        sh tests/fresh/enter.sh "$root" "$cache/packages/$release" "$certificates" "$account" "$home/fastpty" \
        </dev/null 9>&- &
    inside=$!
    wait "$inside"
    inside=
    echo "fresh: Debian $release, as $account: passed, in $(($(date +%s) - began)) s"
    rm -rf --one-file-system "$root"
done
