#ifndef CHOST_CODE_H
#define CHOST_CODE_H

#include <stddef.h>
#include <stdint.h>

// Memory for generated code: one anonymous file mapped twice, so that no page is ever writable and executable at the
// same address. memfd_create is not in Swift's Glibc module.

/// Maps `size` bytes (a multiple of the page size) for writing at *writable and for execution at *executable.
/// 0, or -errno.
int chost_code_map(size_t size, void **writable, void **executable);
void chost_code_unmap(size_t size, void *writable, void *executable);

/// A new protection key (pkeys(7)), all access allowed to this thread; or -errno. pkey_alloc is not in Swift's Glibc
/// module.
int chost_guard_key(void);
/// Puts pages under the key, with these rights (PROT_*). 0, or -errno.
int chost_guard_pages(int key, void *address, size_t size, int rights);
/// The thread's rights to all keys (PKRU). Only where there are keys.
uint32_t chost_guard_rights(void);

/// Calls generated code: entry(cpu, target).
typedef uint64_t (*chost_code_entry)(void *cpu, uintptr_t target);
static inline uint64_t chost_code_enter(uintptr_t entry, void *cpu, uintptr_t target) {
  return ((chost_code_entry)entry)(cpu, target);
}

#endif
