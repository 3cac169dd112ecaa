#define _GNU_SOURCE
#include "chost_code.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int chost_code_map(size_t size, void **writable, void **executable) {
  int fd = memfd_create("ringside-code", MFD_CLOEXEC);
  if (fd < 0) return -errno;
  if (ftruncate(fd, (off_t)size) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  void *w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  void *x = w == MAP_FAILED ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
  int error = errno;
  close(fd);
  if (x == MAP_FAILED) {
    if (w != MAP_FAILED) munmap(w, size);
    return -error;
  }
  *writable = w;
  *executable = x;
  return 0;
}

int chost_guard_key(void) {
  int key = pkey_alloc(0, 0);
  return key < 0 ? -errno : key;
}

int chost_guard_pages(int key, void *address, size_t size, int rights) {
  return pkey_mprotect(address, size, rights, key) == 0 ? 0 : -errno;
}

uint32_t chost_guard_rights(void) {
  uint32_t rights, high;
  // RDPKRU: the compiler knows it only where all code may use it.
  __asm__ volatile(".byte 0x0F, 0x01, 0xEE" : "=a"(rights), "=d"(high) : "c"(0));
  return rights;
}

void chost_code_unmap(size_t size, void *writable, void *executable) {
  munmap(writable, size);
  munmap(executable, size);
}
