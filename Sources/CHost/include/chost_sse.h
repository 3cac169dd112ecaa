// The commonest SSE instructions under the MXCSR that is loaded at the moment. Volatile assembly rather than
// C arithmetic: the compiler neither moves them across a change of MXCSR, nor computes them where the
// program does not, nor swaps operands (of two NaNs the first wins).
#ifndef CHOST_SSE_H
#define CHOST_SSE_H
#include <emmintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define CHOST_INLINE static inline __attribute__((always_inline))

CHOST_INLINE void chost_load_mxcsr(uint32_t value) { __asm__ volatile("ldmxcsr %0" : : "m"(value)); }
CHOST_INLINE uint32_t chost_read_mxcsr(void) {
  uint32_t value;
  __asm__ volatile("stmxcsr %0" : "=m"(value));
  return value;
}

// a = a op b.
#define CHOST_BINARY(mnemonic, type)                                \
  CHOST_INLINE type chost_##mnemonic(type a, type b) {              \
    __asm__ volatile(#mnemonic " %1, %0" : "+x"(a) : "x"(b));       \
    return a;                                                       \
  }
CHOST_BINARY(addsd, double)
CHOST_BINARY(subsd, double)
CHOST_BINARY(mulsd, double)
CHOST_BINARY(divsd, double)
CHOST_BINARY(sqrtsd, double)
CHOST_BINARY(minsd, double)
CHOST_BINARY(maxsd, double)
CHOST_BINARY(addss, float)
CHOST_BINARY(subss, float)
CHOST_BINARY(mulss, float)
CHOST_BINARY(divss, float)
CHOST_BINARY(addpd, __m128d)
CHOST_BINARY(subpd, __m128d)
CHOST_BINARY(mulpd, __m128d)
CHOST_BINARY(addps, __m128)
CHOST_BINARY(subps, __m128)
CHOST_BINARY(mulps, __m128)

// Bit 0 CF, bit 1 PF, bit 2 ZF.
#define CHOST_COMPARE(mnemonic, type)                                                             \
  CHOST_INLINE uint8_t chost_##mnemonic(type a, type b) {                                         \
    bool carry, parity, zero;                                                                     \
    __asm__ volatile(#mnemonic " %4, %3" : "=@ccc"(carry), "=@ccp"(parity), "=@ccz"(zero) : "x"(a), "x"(b)); \
    return (uint8_t)(carry | parity << 1 | zero << 2);                                            \
  }
CHOST_COMPARE(ucomisd, double)
CHOST_COMPARE(comisd, double)
CHOST_COMPARE(ucomiss, float)
CHOST_COMPARE(comiss, float)

#define CHOST_FROM_GPR(name, instruction, type, integer)                      \
  CHOST_INLINE type chost_##name(integer value) {                             \
    type result = 0;                                                          \
    __asm__ volatile(instruction " %1, %0" : "+x"(result) : "r"(value));      \
    return result;                                                            \
  }
CHOST_FROM_GPR(cvtsi2sd32, "cvtsi2sdl", double, uint32_t)
CHOST_FROM_GPR(cvtsi2sd64, "cvtsi2sdq", double, uint64_t)

#define CHOST_TO_GPR(name, instruction, type, integer)                        \
  CHOST_INLINE integer chost_##name(type value) {                             \
    integer result;                                                           \
    __asm__ volatile(instruction " %1, %0" : "=r"(result) : "x"(value));      \
    return result;                                                            \
  }
CHOST_TO_GPR(cvttsd2si32, "cvttsd2sil", double, uint32_t)
CHOST_TO_GPR(cvttsd2si64, "cvttsd2siq", double, uint64_t)

#undef CHOST_BINARY
#undef CHOST_COMPARE
#undef CHOST_FROM_GPR
#undef CHOST_TO_GPR
#undef CHOST_INLINE
#endif
