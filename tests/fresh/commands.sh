# On a fresh system: runs the command lines of the README's section "Install" as they are written, and checks the results.
set -eu
account=$1
cd "$2"

as_account() {
    if [ "$account" = root ]; then sh -c "$1"; else su "$account" -s /bin/sh -c "$1"; fi
}
readme() { sed -n "s|^    \($1.*\)|\1|p" README.md | sed 's/ *#.*//' | head -n 1; }

install=$(readme 'apt-get install')
serve=$(readme 'make run')
check=$(readme 'make test')

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
sh -c "$install" >/tmp/install.log 2>&1 || {
    cat /tmp/install.log
    exit 1
}
unset DEBIAN_FRONTEND
if [ "$account" != root ]; then
    useradd --no-create-home --home-dir "$(dirname "$2")" --shell /bin/bash "$account"
    chown -R "$account:" "$(dirname "$2")"
fi

echo "fresh: $serve, and a client"
: >/tmp/serve.log # so that grep finds it
as_account "exec $serve" >/tmp/serve.log 2>&1 &
server=$!
until grep -q 'ready$' /tmp/serve.log; do
    if ! kill -0 $server 2>/dev/null; then
        cat /tmp/serve.log
        exit 1
    fi
    sleep 0.2
done
attach=$(sed -n 's/^Attach from another terminal: *//p' /tmp/serve.log)
answer=$(as_account "echo 'expr 6 \* 7; exit' | $attach")
kill "$(sed -n 's/^.*fastpty-router\[\([0-9]*\)\] listening on .*/\1/p' /tmp/serve.log)"
wait $server
cat /tmp/serve.log
case $answer in
*42*) ;;
*)
    echo "fresh: the client should have shown 42, not: $answer" >&2
    exit 1
    ;;
esac
if [ -e /tmp/fpty.socket ]; then
    echo "fresh: the router left its socket behind" >&2
    exit 1
fi

echo "fresh: $check"
as_account "PYTEST_ADDOPTS=-rfEs $check" >/tmp/check.log 2>&1 || {
    cat /tmp/check.log
    exit 1
}
cat /tmp/check.log
.venv/bin/python tests/fresh/skips.py "$account" /tmp/check.log

echo "fresh: the commands for all users"
for line in 'python3 -m venv' '/opt/fastpty/bin/pip' 'ln -s'; do
    sh -c "$(readme "$line")" >/tmp/install.log 2>&1 || {
        cat /tmp/install.log
        exit 1
    }
done
cd /
as_account "fastpty-router --version && fastpty --version"
