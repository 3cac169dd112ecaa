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

void chost_code_unmap(size_t size, void *writable, void *executable) {
  munmap(writable, size);
  munmap(executable, size);
}
