# Runs below systemd, in the container: the units that `lockstep service print` writes, as
# an unprivileged user, from a path with spaces, with a home of odd characters. /in/code
# gets the exit code, /in/out what is said.
set -euo pipefail
trap 'code=$?; echo "$code" >/in/code; systemctl --no-block exit "$code"' EXIT

say() { echo "== $*"; }
# until_ COMMAND...: repeats it until it succeeds, for a minute at most.
until_() {
  local end=$((SECONDS + 60))
  until "$@"; do
    if [ "$SECONDS" -gt "$end" ]; then
      echo "in vain: $*" >&2
      ctl status lockstep --no-pager >&2 || true
      exit 1
    fi
    sleep 0.05
  done
}
show() { ctl show lockstep -p "$1" --value; }
is() { [ "$(show "$1")" = "$2" ]; }
expect() { is "$1" "$2" || { echo "$1 is $(show "$1"), want $2" >&2; exit 1; }; }
refused() { if "$@" 2>/dev/null; then echo "succeeded: $*" >&2; exit 1; fi; } # set -e passes over !
anew() { ! is MainPID "$1" && is ActiveState active; } # another process than $1 is ready

echo 'anna:x:61234:61234::/home/anna:/bin/sh' >>/etc/passwd
echo 'anna:x:61234:' >>/etc/group
mkdir -p /home/anna/docs /home/anna/.config/systemd/user "/opt/my programs" /run/user/61234
chown -R 61234:61234 /home/anna /run/user/61234
chmod 700 /run/user/61234
cp /in/lockstep "/opt/my programs/lock step"
chmod 755 /home /opt "/opt/my programs" "/opt/my programs/lock step"
cd /home/anna
home='/home/anna/a "node" of 100% $HOME ü\n'
anna() {
  setpriv --reuid=61234 --regid=61234 --clear-groups env -i HOME=/home/anna USER=anna PATH="$PATH" \
    XDG_RUNTIME_DIR=/run/user/61234 LOCKSTEP_HOME="$home" "$@"
}
lockstep() { anna "/opt/my programs/lock step" "$@"; }

# check: what holds of either unit. The node runs from here on.
check() {
  ctl daemon-reload
  ctl start lockstep # Type=notify: it answers when the node is ready
  expect ActiveState active
  lockstep status >/dev/null
  local pid
  pid=$(show MainPID)
  [ "$(stat -c %u "/proc/$pid")" = 61234 ]
  grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$pid/status"
  grep -q '^Seccomp:[[:space:]]*2' "/proc/$pid/status"

  say "syncs below the unit's restrictions"
  [ -e docs/.lockstep ] || lockstep folder add docs
  anna sh -c 'date +%N >docs/file'
  lockstep wait docs
  lockstep status --check >/dev/null

  say "killed: started again"
  kill -KILL "$pid"
  until_ anew "$pid"
  expect NRestarts 1
  lockstep wait docs

  say "a node that answers lives on, one that hangs is restarted"
  mkdir -p "$1/lockstep.service.d"
  printf '[Service]\nWatchdogSec=2\n' >"$1/lockstep.service.d/watchdog.conf"
  ctl daemon-reload
  ctl restart lockstep
  pid=$(show MainPID)
  local last round
  for round in 1 2 3 4 5 6 7; do # more than twice the two seconds
    last=$(show WatchdogTimestampMonotonic)
    until_ eval '! is WatchdogTimestampMonotonic '"$last"
  done
  expect MainPID "$pid"
  kill -STOP "$pid"
  until_ anew "$pid"
  expect NRestarts 1
  lockstep wait docs

  say "a start that fails is said, and tried again"
  ctl stop lockstep
  echo 'nonsense = 1' | anna tee "$home/config.toml" >/dev/null
  refused ctl start lockstep
  anna rm "$home/config.toml"
  until_ is ActiveState active

  say "SIGTERM is a clean end: no restart"
  kill -TERM "$(show MainPID)"
  until_ is ActiveState inactive
  expect Result success
  ctl start lockstep

  say "stopped in time"
  local begin=$SECONDS
  ctl stop lockstep
  [ $((SECONDS - begin)) -lt 30 ]
  expect Result success
  expect ActiveState inactive
  refused lockstep status
  ctl reset-failed lockstep 2>/dev/null || true
}

lockstep init --listen 127.0.0.1:0 --name anna

say "the system's unit"
ctl() { systemctl "$@"; }
lockstep service print --system --run-as anna >/etc/systemd/system/lockstep.service 2>/dev/null
check /etc/systemd/system
ctl enable lockstep 2>/dev/null
[ -L /etc/systemd/system/multi-user.target.wants/lockstep.service ]

say "the user's unit"
cat >/etc/systemd/system/manager.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=notify
User=anna
Delegate=yes
KillMode=mixed
Environment=XDG_RUNTIME_DIR=/run/user/61234
ExecStart=/lib/systemd/systemd --user --log-target=console
UNIT
systemctl daemon-reload
systemctl start manager
ctl() { anna systemctl --user "$@"; }
lockstep service print 2>/dev/null | anna tee .config/systemd/user/lockstep.service >/dev/null
check .config/systemd/user
ctl enable lockstep 2>/dev/null
[ -L .config/systemd/user/default.target.wants/lockstep.service ]
systemctl stop manager
say "all well"
