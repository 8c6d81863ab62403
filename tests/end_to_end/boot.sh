#!/bin/sh
# boot.sh FOLDER [SHARED...]: boot a systemd of this machine's, again and again, in namespaces of mounts and cgroups that
# the caller made. It sees this machine's files and changes a copy of them, in memory; SHARED are places that both see,
# and FOLDER/etc is laid over its /etc. Its processes, mounts, cgroups and host name are its own; it has this machine's
# network. One line is written each time that it is down.
set -eu
folder=$1; shift
root=$folder/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$folder/disk"
mkdir "$folder/disk/upper" "$folder/disk/work"
mount -t overlay -o "lowerdir=/,upperdir=$folder/disk/upper,workdir=$folder/disk/work" overlay "$root"
mount -t sysfs -o ro sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
	mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
	mkdir "$root/sys/fs/cgroup/systemd"
	mount -t cgroup -o none,name=systemd systemd "$root/sys/fs/cgroup/systemd"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for place in "$@"; do
	mkdir -p "$root$place"
	mount --bind "$place" "$root$place"
done
# What belongs to the machine below is left alone: no temporary files are tidied, no setting or module of the kernel changed.
rm -rf "$root"/etc/systemd/system/*.wants
for target in sysinit local-fs timers multi-user; do
	rm -f "$root/usr/lib/systemd/system/$target.target.wants"/*
done
cp -r "$folder/etc/." "$root/etc/"
# Nor does a shell there begin with what this user's does, such as waiting for who else has begun one.
rm -f "$root/root/.bashrc"
while :; do
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		unshare --pid --fork --kill-child --uts --ipc --mount \
		sh -c 'mount -t proc proc "$0/proc" && mount --bind "$0/proc/sys" "$0/proc/sys" && mount -o remount,bind,ro "$0/proc/sys" && exec chroot "$0" /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=false' "$root" || :
	umount -R "$root/run"
	echo down
done
