// The compute kernels: plain C, the same in the guest (32 and 64 bit) and in a Linux program, so that
// the checksums must agree. Each runs `count` times around and returns a checksum.
#ifndef COMPUTE_H
#define COMPUTE_H
#include <stdint.h>

// Scratch memory for all kernels; whoever runs them provides it, aligned to 64 bytes.
#define ARENA_SIZE (96u << 20)
extern uint8_t *arena;

struct kernel {
  const char *name;
  uint32_t count;              // default
  void (*prepare)(void);       // not timed, or null
  uint64_t (*run)(uint32_t count);
};
extern const struct kernel compute_kernels[];
extern const unsigned compute_kernel_count;

#endif
