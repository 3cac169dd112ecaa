// What the host's processor, and the system for it, can do of what a guest may want.
#ifndef CHOST_FEATURES_H
#define CHOST_FEATURES_H
#include <stdbool.h>
#include <stdint.h>

enum chost_feature : uint32_t {
  CHOST_SSE3 = 1,
  CHOST_SSSE3 = 1 << 1,
  CHOST_SSE41 = 1 << 2,
  CHOST_SSE42 = 1 << 3,
  CHOST_POPCNT = 1 << 4,
  CHOST_AVX = 1 << 5,
  CHOST_AVX2 = 1 << 6,
  CHOST_FMA = 1 << 7,
  CHOST_F16C = 1 << 8,
  CHOST_BMI1 = 1 << 9,
  CHOST_BMI2 = 1 << 10,
  CHOST_LZCNT = 1 << 11,
};

// chost_feature bits.
uint32_t chost_features(void);
// The processor's time stamp counter: an instruction, which Swift has no word for.
static inline uint64_t chost_ticks(void) { return __builtin_ia32_rdtsc(); }
// Whether it runs at one speed whatever the processor does (CPUID.80000007H:EDX[8], SDM 3B 18.17.1).
bool chost_ticks_are_steady(void);

/// Has all threads take memory from one heap: of glibc's others each grows by a page at a time, a system call each.
void chost_share_heap(void);

#endif
