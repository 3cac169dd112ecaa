#include "chost_features.h"

#include <cpuid.h>
#include <malloc.h>

uint32_t chost_features(void) {
  uint32_t a, b, c, d, found = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  if (c & bit_SSE3) found |= CHOST_SSE3;
  if (c & bit_SSSE3) found |= CHOST_SSSE3;
  if (c & bit_SSE4_1) found |= CHOST_SSE41;
  if (c & bit_SSE4_2) found |= CHOST_SSE42;
  if (c & bit_POPCNT) found |= CHOST_POPCNT;
  // The system must save the upper halves: CR4.OSXSAVE and XCR0[2:1].
  uint32_t low = 0, high = 0;
  if (c & bit_OSXSAVE) __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  int upper = (low & 6) == 6;
  if (upper && c & bit_AVX) found |= CHOST_AVX;
  if (upper && c & bit_FMA) found |= CHOST_FMA;
  if (upper && c & bit_F16C) found |= CHOST_F16C;
  uint32_t leaf7 = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf7 = b;
  if (upper && leaf7 & bit_AVX2) found |= CHOST_AVX2;
  if (leaf7 & bit_BMI) found |= CHOST_BMI1;
  if (leaf7 & bit_BMI2) found |= CHOST_BMI2;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) && c & bit_LZCNT) found |= CHOST_LZCNT;
  return found;
}

bool chost_ticks_are_steady(void) {
  uint32_t a, b, c, d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

void chost_share_heap(void) { mallopt(M_ARENA_MAX, 1); }
