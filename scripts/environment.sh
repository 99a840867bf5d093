# Sourced by the scripts beside it: builds the Python environment that pgha runs in, and says where it is.
#
#   build_environment demo    pgha and the demo's programs      root: /opt/pgha/venv     else: .venv in the checkout
#   build_environment test    the same and the test tools       root: /opt/pgha/test     else: .venv in the checkout
#
# Root's environments lie outside every home directory and stand on an interpreter that everybody may execute, because the
# servers run as an unprivileged user. pgha itself is installed as a copy for the same reason: the checkout may be private.
# PGHA_ENVIRONMENT names another directory. A second run with nothing changed does nothing.
#
# Sets: $checkout, $environment (both absolute). `publish_checkout` sets $tested.

umask 022
checkout=$(cd "$(dirname "$0")/.." && pwd -P)

say() {
    printf '%s\n' "$*" >&2
}

fail() { # what, because, next
    say "error: $1"
    say "because: $2"
    say "next: $3"
    exit 4
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

# True when the interpreter is new enough and, as root, when others may execute it as well.
usable_python() {
    "$1" -c '
import os, sys
good = sys.version_info >= (3, 11)
place = os.path.realpath(sys.executable)
while good and os.geteuid() == 0 and place != "/":
    place = os.path.dirname(place)
    good = bool(os.stat(place).st_mode & 0o001)
sys.exit(not good)' 2>/dev/null
}

# True when every user can reach and read the checkout.
public_checkout() {
    "$python" -c '
import os, sys
place = os.path.join(sys.argv[1], "tests", "support", "__init__.py")
good = bool(os.stat(place).st_mode & 0o004)
while good and place != "/":
    place = os.path.dirname(place)
    good = bool(os.stat(place).st_mode & 0o001)
sys.exit(not good)' "$checkout"
}

# Tests start processes of an unprivileged user, which read tests/support. From a private checkout root tests a copy.
# Sets $tested, the directory to test in.
publish_checkout() {
    tested=$checkout
    if ! is_root || public_checkout; then
        return
    fi
    copy=$(mktemp -d "$environment/checkout.XXXXXX")
    say "testing a copy in $copy: other users can't read $checkout"
    (cd "$checkout" && tar -cf - --exclude=./.git --exclude='./.[vmrph]*' .) | (cd "$copy" && tar -xf -)
    chmod -R a+rX,go-w "$copy"
    tested=$copy
}

find_python() {
    candidates="python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3"
    if is_root; then
        candidates="/usr/bin/python3 /usr/local/bin/python3 $candidates"
    fi
    for candidate in $candidates; do
        python=$(command -v "$candidate") || continue
        if usable_python "$python"; then
            return
        fi
    done
    fail "no suitable python3 was found" "pgha needs Python 3.11 or newer (as root: one that every user may execute)" \
        "install one, for example: apt-get install python3"
}

# Debian and Ubuntu ship the module that makes environments as a package of its own.
need_venv_module() {
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        return
    fi
    package=$("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
    if ! is_root || ! command -v apt-get >/dev/null; then
        fail "$python can't make environments" "its modules venv and ensurepip are missing" \
            "sudo apt-get install $package"
    fi
    say "installing $package"
    apt_get install "$package" || { apt_get update && apt_get install "$package"; } ||
        fail "$package could not be installed" "apt-get said: $(tail -n 1 "$scratch/apt")" "apt-get install $package"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@" >"$scratch/apt" 2>&1
}

pip_install() {
    "$environment/bin/python" -m pip install -qq --disable-pip-version-check --no-input --root-user-action=ignore "$@"
}

# What the installed files depend on. cksum is the checksum that POSIX promises.
dependencies_stamp() {
    {
        echo "$kind" "$python"
        "$python" -V
        cat "$checkout/pyproject.toml" "$checkout/requirements-pinned.txt" "$checkout/requirements-demo.txt"
    } | cksum
}

code_stamp() {
    (
        cd "$checkout"
        find pyproject.toml README.md LICENSE pgha -type f ! -path '*/__pycache__/*' -exec cksum {} + | sort | cksum
    )
}

stamped() { # name, stamp
    [ "$(cat "$environment/.stamp-$1" 2>/dev/null)" = "$2" ]
}

install_dependencies() {
    stamp=$(dependencies_stamp)
    if stamped dependencies "$stamp" && [ -x "$environment/bin/python" ]; then
        return
    fi
    say "building $environment"
    need_venv_module
    if ! "$environment/bin/python" -c 'import pip' 2>/dev/null; then
        if [ -e "$environment" ] && [ ! -e "$environment/pyvenv.cfg" ] && [ -n "$(ls -A "$environment")" ]; then
            fail "$environment is in the way" "it is not empty and no Python environment" "PGHA_ENVIRONMENT=... $0"
        fi
        "$python" -m venv --clear "$environment"
    fi
    rm -f "$environment"/.stamp-*
    pip_install --require-hashes --no-deps -r "$checkout/requirements-pinned.txt" -r "$checkout/requirements-demo.txt"
    pip_install 'setuptools>=70.1'
    pip_install --no-build-isolation "$source[$extras]"
    # Machines may forbid writing bytecode at run time (PYTHONDONTWRITEBYTECODE); starts would be slow for ever.
    "$environment/bin/python" -m compileall -q "$environment/lib" >/dev/null || true
    echo "$stamp" >"$environment/.stamp-dependencies"
}

install_pgha() {
    stamp=$(code_stamp)
    if stamped code "$stamp"; then
        return
    fi
    rm -f "$environment/.stamp-code"
    pip_install --no-deps --no-build-isolation --force-reinstall "$source"
    "$environment/bin/python" -m compileall -q "$environment"/lib/python3*/site-packages/pgha
    echo "$stamp" >"$environment/.stamp-code"
}

build_environment() {
    kind=$1
    extras=demo
    if [ "$kind" = test ] || ! is_root; then
        extras=demo,dev
    fi
    if is_root; then
        environment=/opt/pgha/venv
        [ "$kind" = demo ] || environment=/opt/pgha/test
    else
        kind=all
        environment=$checkout/.venv
    fi
    environment=${PGHA_ENVIRONMENT:-$environment}
    find_python
    mkdir -p "$(dirname "$environment")"
    scratch=$(mktemp -d)
    copy=
    trap 'rm -rf "$scratch" "$copy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    source=$scratch/source
    mkdir "$source"
    (cd "$checkout" && cp -R pgha pyproject.toml README.md LICENSE "$source")
    # Two runs at once would install over each other. The lock must not outlive this: what is started later inherits it.
    exec 9>"$environment.lock"
    if command -v flock >/dev/null; then
        flock 9
    fi
    install_dependencies
    install_pgha
    exec 9>&-
}
