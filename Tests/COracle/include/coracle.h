// Runs instruction bytes on the host's own processor, in a child that can make no system call.
//
// The child is forked once and fed through shared memory. It enters each case by returning from a signal
// handler with the case's registers in the signal frame, and leaves it by whatever exception ends it: INT3
// after the last instruction, or a fault. A seccomp filter lets nothing through but what the handler needs.
#ifndef CORACLE_H
#define CORACLE_H
#include <stdint.h>
#pragma clang assume_nonnull begin

enum {
  // Where code and data lie in the child, and must lie in the guest.
  CORACLE_CODE = 0x10000000,
  CORACLE_DATA = 0x10010000,
  CORACLE_CODE_BYTES = 4096,
  CORACLE_DATA_BYTES = 8192,
  CORACLE_CASES = 256,
};

enum coracle_mode {
  CORACLE_LONG64 = 0,
  CORACLE_COMPAT32 = 1,
  // 32-bit and 16-bit code segments of the LDT, based at CORACLE_CODE, with data segments based at
  // CORACLE_DATA (limit CORACLE_DATA_BYTES - 1); instruction pointer and stack pointer are offsets.
  CORACLE_LDT32 = 2,
  CORACLE_LDT16 = 3,
};

struct coracle_case {
  // What to run, from the start of the code page; INT3 fills the rest.
  uint8_t code[48];
  uint8_t mode;
  // 1 where the case ran (out).
  uint8_t ran;
  // Vector, error code and CR2 of what ended it (out); 255 if it did not end in time.
  uint8_t vector;
  uint32_t error;
  uint64_t cr2;
  // Registers, in and out. RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.
  uint64_t gpr[16];
  uint64_t rip;
  uint64_t rflags;
  uint64_t xmm[32];
  // The upper halves of YMM0..YMM15; as they are where the host has no AVX.
  uint64_t ymm_high[32];
  uint64_t significand[8];
  uint16_t sign_exponent[8];
  uint32_t mxcsr;
  uint16_t control;
  // With TOP.
  uint16_t status;
  // One bit a physical register, 1 = not empty.
  uint8_t tags;
};

// The shared array of CORACLE_CASES cases, or null with errno set where no child could be made.
struct coracle_case *_Nullable coracle_cases(void);
// The CORACLE_DATA_BYTES of the data area before and after case `index`.
void *coracle_data(int index);
// Runs the first `count` cases. 0, or -errno; -EIO if a case killed the child (its `ran` is 0, later ones too).
int coracle_run(int count);
// Ends the child and frees the shared memory.
void coracle_close(void);

#pragma clang assume_nonnull end
#endif
