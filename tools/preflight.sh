# Says which system packages a build still needs, in one line that installs them.
#
#   sh tools/preflight.sh          what `make` needs
#   sh tools/preflight.sh build    what `pip install .` needs, which makes no virtual environment
python=${PYTHON:-python3}
missing=
if ! command -v "$python" >/dev/null; then
    missing="python3 python3-venv python3-dev"
else
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "$python is $("$python" -V): fastpty needs Python 3.11 or newer; name one with make PYTHON=..." >&2
        exit 1
    }
    [ "${1:-}" = build ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || missing="$missing python3-dev"
    compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
fi
# With flags, as in "gcc -pthread". Without the C library's headers it is of no use.
echo '#include <stdlib.h>' | ${compiler:-cc} -x c -fsyntax-only - 2>/dev/null || missing="$missing gcc libc6-dev"
if [ -n "$missing" ]; then
    echo "missing system packages; this installs them:  apt-get install ${missing# }" >&2
    exit 1
fi
