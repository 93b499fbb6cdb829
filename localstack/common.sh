# Sourced by start.sh, stop.sh and load.sh, with their arguments: sets here, root and dir.
unset CDPATH
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")

say() { echo "$(basename "$0"): $*" >&2; }
fail() {
  say "$*"
  exit 1
}

[ $# -le 1 ] || fail "usage: $(basename "$0") [DIR]"
dir=${1:-${LOCALSTACK_DIR:-$root/target/localstack}}
# One spelling, however it is given: runs() compares it.
[ ! -d "$dir" ] || dir=$(cd "$dir" && pwd -P)

# start.sh and stop.sh in one DIR take turns.
take_turns() {
  if command -v flock >/dev/null; then
    exec 9>"$dir/lock"
    flock 9
  fi
}

# Whether the recorded process runs and is the one that start.sh started in this DIR:
# a process id belongs to another process once its own is gone.
runs() {
  local command
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  if [ -d /proc/self ]; then
    command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" || true)
  else
    command="$(ps -ww -p "$pid" -o command= || true) "
  fi
  case $command in
    *"/run.py $dir ") ;;
    *) return 1 ;;
  esac
}

# Ends the process by its id, politely first; LocalStack takes a few seconds.
end_process() {
  runs || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 1 100); do
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
