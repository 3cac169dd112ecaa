#define _GNU_SOURCE
#include "chost_code.h"
#include "guard.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
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

// The kernel writes the thread's restartable-sequence area whenever it was preempted; where a key forbids that to the
// code that runs just then, it ends the program. Nothing of ours uses the area.
static void forget_rseq(void) {
  void *area = (char *)__builtin_thread_pointer() + __rseq_offset;
  if (syscall(SYS_rseq, area, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) != 0)
    syscall(SYS_rseq, area, __rseq_size, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

static volatile int has_key;

int chost_guard_key(void) {
  forget_rseq();
  int key = pkey_alloc(0, 0);
  if (key < 0) return -errno;
  has_key = 1;
  return key;
}

void chost_guard_open(void) {
  // WRPKRU, which the compiler knows only where all code may use it.
  if (has_key) __asm__ volatile(".byte 0x0F, 0x01, 0xEF" : : "a"(0), "c"(0), "d"(0) : "memory");
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
