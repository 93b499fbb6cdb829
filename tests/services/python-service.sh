# Sourced by moto.sh, ministack.sh, rest_catalog.sh and spark.sh: a service from PyPI, in a Python environment, run in DIR.
#
# The script sets service (there are SERVICE_server.py and SERVICE-requirements.txt in this folder), then venv (where to
# install it) and the functions settings PORT (prints NAME=VALUE lines for its environment) and calls URL (makes real
# calls, by "${clean[@]}" "$python", and fails if one does), and complete, if more than Python's packages is to be
# installed (harmless when repeated). Then: service_main "$@".
# Whatever the service writes is in DIR; nothing is kept from one start to the next.
# shellcheck shell=bash disable=SC2034,SC2154
unset CDPATH
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")
seconds=60

say() { echo "$(basename "$0"): $*" >&2; }
fail() {
  say "$*"
  exit 1
}

suits() { # PYTHON
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null
}

complete() { :; }

# Prints the path of the environment's python. Does nothing when it holds exactly the listed versions; builds it anew
# when they changed or when an earlier run was cut short.
install() {
  local requirements=$here/$service-requirements.txt stamp candidate python=
  [ -f "$requirements" ] || fail "$requirements is missing"
  mkdir -p "$(dirname "$venv")"
  venv=$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")
  if command -v flock >/dev/null; then
    exec 8>"$venv.lock"
    flock 8
  fi
  stamp=$venv/requirements.installed
  if ! cmp -s "$requirements" "$stamp" || ! "$venv/bin/python" -c '' 2>/dev/null; then
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
      fail "$venv exists and is not a Python environment: choose another folder"
    fi
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
      if suits "$candidate"; then
        python=$candidate
        break
      fi
    done
    [ -n "$python" ] || fail "no Python 3.11 or newer with venv found (on Debian: apt-get install python3-venv)"
    say "installing $service into $venv"
    "$python" -m venv --clear "$venv" >&2 || fail "cannot make an environment in $venv"
    # The list is whole, so nothing that it does not name may come along.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements" >&2 ||
      fail "pip could not install $service into $venv (its own message is above)"
    "$venv/bin/python" -m pip check --disable-pip-version-check >&2 ||
      fail "$requirements is not whole (pip's own message is above)"
    cp "$requirements" "$stamp"
  fi
  complete >&2
  exec 8>&-
  echo "$venv/bin/python"
}

taken() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Whether the recorded process runs and is the one that was started in this DIR: a process id belongs to another
# process once its own is gone.
runs() {
  local command
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  if [ -d /proc/self ]; then
    command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" || true)
  else
    command="$(ps -ww -p "$pid" -o command= || true) "
  fi
  case $command in
    *"/${service}_server.py $dir "*) ;;
    *) return 1 ;;
  esac
}

launch() { # PORT
  local environment
  rm -rf "$dir/state"
  mkdir -p "$dir/state/home" "$dir/state/tmp"
  mapfile -t environment < <(settings "$1")
  # Not a function, and so not in a shell of its own: $! is the service's id. Descriptors closed or redirected: a reader
  # of this script's output must not wait for the service's end.
  "${clean[@]}" "${environment[@]}" "$python" "$here/${service}_server.py" "$dir" "$1" \
    </dev/null >"$dir/log" 2>&1 9>&- &
  pid=$!
  echo "$pid" >"$dir/pid"
}

# 0: up; 1: failed for good; 2: the port was taken.
start_on() { # PORT
  local deadline=$((SECONDS + seconds)) reason=
  launch "$1"
  while [ $SECONDS -lt $deadline ]; do
    if ! kill -0 "$pid" 2>/dev/null; then
      ! grep -qi 'address already in use\|is already in use' "$dir/log" || return 2
      say "$service ended by itself"
      return 1
    fi
    # That the port answers does not tell whose it is: the process must run and hold on to it while the calls are made.
    if reason=$(calls "http://127.0.0.1:$1" 2>&1) && kill -0 "$pid" 2>/dev/null; then
      return 0
    fi
    sleep 0.1
  done
  say "$service is not up after $seconds s: ${reason##*$'\n'}"
  return 1
}

# Ends the process by its id, politely first.
end_process() {
  runs || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 1 50); do
    runs || return 0
    sleep 0.1
  done
  say "it does not stop on SIGTERM: killing process $pid"
  kill -9 "$pid" 2>/dev/null || true
  for _ in $(seq 1 50); do
    runs || return 0
    sleep 0.1
  done
  fail "process $pid does not end"
}

give_up() {
  end_process
  rm -rf "$dir/pid" "$dir/state"
}

take_turns() {
  if command -v flock >/dev/null; then
    exec 9>"$dir/lock"
    flock 9
  fi
}

start() {
  local port status=2
  if [ -d "$dir" ] && [ ! -e "$dir/lock" ] && [ ! -e "$dir/log" ] && [ -n "$(ls -A "$dir")" ]; then
    fail "$dir is not empty and not $service's: choose another DIR"
  fi
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd -P)
  take_turns
  ! runs || fail "$service already runs in $dir, on http://127.0.0.1:$(cat "$dir/port"): stop it first"
  rm -f "$dir/pid" "$dir/port"
  python=$(install 9>&-)
  # Nothing of the caller's environment but PATH: what someone has set for AWS, for a proxy or for another such service
  # must not steer this one.
  clean=(env -i PATH="$PATH" LANG=C.UTF-8 PYTHONUNBUFFERED=1 HOME="$dir/state/home" TMPDIR="$dir/state/tmp"
    AWS_EC2_METADATA_DISABLED=true)

  for _ in 1 2 3 4 5 6 7 8; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    ! taken "$port" || continue
    # Whatever breaks this off, ^C too, leaves no process behind.
    trap give_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    status=0
    start_on "$port" || status=$?
    if [ $status = 0 ]; then
      echo "$port" >"$dir/port"
      trap - EXIT
      echo "http://127.0.0.1:$port"
      return
    fi
    # Another port helps only where the port was the cause.
    [ $status = 2 ] || break
  done
  tail -n 20 "$dir/log" >&2 || true
  fail "$service did not start (the end of $dir/log is above)"
}

stop() {
  [ ! -d "$dir" ] || dir=$(cd "$dir" && pwd -P)
  if [ ! -e "$dir/pid" ]; then
    say "no $service runs in $dir"
    return
  fi
  take_turns
  runs || say "it had already ended"
  end_process
  rm -rf "$dir/pid" "$dir/port" "$dir/state"
}

service_main() {
  local usage
  usage="usage: $(basename "$0") start|stop DIR"
  [ $# -eq 2 ] || fail "$usage"
  dir=${2%/}
  case $dir in
    /*) ;;
    *) fail "DIR must be absolute and not the root folder: '$2'" ;;
  esac
  case $1 in
    start) start ;;
    stop) stop ;;
    *) fail "$usage" ;;
  esac
}
