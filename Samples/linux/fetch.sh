#!/bin/sh
# Fetches Debian's cloud kernel and busybox, and packs two initrds: one that says hello, and one that starts the system
# on a disk. Makes image/vmlinuz, image/initrd.gz and image/initrd-disk.gz.
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

# pack NAME INIT PROGRAM...: a folder of busybox under those names, and INIT as its first program, becomes NAME.
# The same files give the same archive: fixed times, owners and numbers.
pack() {
  name=$1 init=$2
  shift 2
  mkdir -p root/bin root/dev root/proc root/sys
  cp files/bin/busybox root/bin/busybox
  cp "$here/$init" root/init
  chmod 755 root/bin/busybox root/init
  for program in "$@"; do ln -s busybox "root/bin/$program"; done
  find root -exec touch -h -d @0 {} +
  (cd root && find . | LC_ALL=C sort | ../files/bin/busybox cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) 2>/dev/null |
    gzip -9n >"$out/$name"
  rm -r root
}

pack initrd.gz init sh mount uname cat ls ps dmesg free reboot poweroff echo sleep
mkdir -p root/modules root/disk
for module in virtio/virtio virtio/virtio_ring virtio/virtio_mmio block/virtio_blk char/virtio_console char/hw_random/virtio-rng; do
  cp files/lib/modules/*/kernel/drivers/$module.ko root/modules/
done
pack initrd-disk.gz init-disk sh mount insmod switch_root echo ls cat dmesg
cp files/boot/vmlinuz-* "$out/vmlinuz"
ls -l "$out/vmlinuz" "$out/initrd.gz" "$out/initrd-disk.gz"
