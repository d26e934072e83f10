# Boots systemd as process 1 of namespaces of its own, over a copy-on-write view of this
# system: container.sh DIR CGROUP. DIR is empty but for DIR/in, which is /in there; CGROUP
# is a cgroup of the unified hierarchy that is ours. Run as root; what it cannot have here
# is exit 77.
set -euo pipefail
dir=$1 group=$2
if [ -z "${LOCKSTEP_INSIDE:-}" ]; then
  echo $$ >"$group/cgroup.procs" || exit 77
  LOCKSTEP_INSIDE=1 exec unshare --mount --pid --fork --cgroup --uts --ipc --net --kill-child=KILL bash "$0" "$dir" "$group"
fi
trap 'exit 77' ERR
mount --make-rprivate /
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
  touch "dev/$name"
  mount --bind "/dev/$name" "dev/$name"
done
mkdir -p dev/pts dev/shm in old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount --bind "$dir/in" in
cat >etc/systemd/system/check.target <<'UNIT'
[Unit]
Description=One check
DefaultDependencies=no
AllowIsolate=yes
Wants=check.service
UNIT
cat >etc/systemd/system/check.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /in/check.sh
StandardOutput=file:/in/out
StandardError=inherit
UNIT
pivot_root . old
cd /
umount -l /old
trap - ERR
exec env -i container=lockstep-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=check.target --log-target=console --show-status=no </dev/null
