#!/bin/sh
# Fetches Debian's cloud kernel and busybox, and packs an initrd that says hello: image/vmlinuz, image/initrd.gz.
# Needs a Debian 12 with apt-get, and root for nothing.
set -eu
cd "$(dirname "$0")"
out=${1:-image}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(pwd)

kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
if [ -z "$kernel" ]; then
  echo "fetch.sh: apt knows no linux-image-cloud-amd64; is this Debian, and was 'apt-get update' run?" >&2
  exit 1
fi
cd "$work"
echo "fetching $kernel and busybox-static"
apt-get download -q "$kernel" busybox-static >log 2>&1 || { cat log >&2; exit 1; }
for package in *.deb; do dpkg -x "$package" files; done

mkdir -p root/bin root/dev root/proc root/sys
cp files/bin/busybox root/bin/busybox
cp "$here/init" root/init
chmod 755 root/bin/busybox root/init
for name in sh mount uname cat ls ps dmesg free reboot poweroff echo sleep; do ln -s busybox "root/bin/$name"; done
# The same files give the same archive: fixed times, owners and numbers.
find root -exec touch -h -d @0 {} +
(cd root && find . | LC_ALL=C sort | ../files/bin/busybox cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) 2>/dev/null |
  gzip -9n >initrd.gz
cp initrd.gz "$out/initrd.gz"
cp files/boot/vmlinuz-* "$out/vmlinuz"
ls -l "$out/vmlinuz" "$out/initrd.gz"
