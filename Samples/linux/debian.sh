#!/bin/sh
# Makes a disk image with a small Debian on it, for ringside's --disk: image/debian.img, 1 GiB, of which some 200 MB are
# used. The packages come from where apt gets them on this machine. Needs root, debootstrap and mke2fs (e2fsprogs).
# debian.sh [FILE] [SIZE]
set -eu
cd "$(dirname "$0")"
image=${1:-image/debian.img}
size=${2:-1G}
fail() { echo "debian.sh: $1" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "needs root: debootstrap runs the packages' own programs in the new system"
for program in debootstrap mke2fs; do command -v $program >/dev/null || fail "$program is missing: apt-get install debootstrap e2fsprogs"; done
[ -e "$image" ] && fail "$image is there already; remove it first: what was written to it would be lost"
site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
[ -n "$site" ] || fail "apt knows no archive; was 'apt-get update' run?"
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mkdir -p "$(dirname "$image")"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# sysvinit: it is at its login prompt in a third of the instructions that systemd takes.
debootstrap --variant=minbase --include=sysvinit-core,sysv-rc,initscripts,kmod "$suite" "$root" "$site" >"$root.log" 2>&1 ||
  { tail "$root.log" >&2; fail "debootstrap did not finish; $root.log has all it said"; }
rm -f "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*_*

echo ringside >"$root/etc/hostname"
echo "/dev/vda / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
# One terminal, the serial port; root has no password.
sed -i -e 's/^\([1-6]:.*getty\)/#\1/' "$root/etc/inittab"
echo 'T0:2345:respawn:/sbin/getty -L ttyS0 115200 vt100' >>"$root/etc/inittab"
sed -i -e 's/^root:[^:]*:/root::/' "$root/etc/shadow"

truncate -s "$size" "$image"
mke2fs -q -t ext4 -L ringside -d "$root" "$image"
ls -ls "$image"
