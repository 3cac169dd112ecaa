// One SSE, MMX or x87 instruction carried out by the host's own processor, so that results and exception
// flags are the architecture's to the last bit. Every function leaves the host's MXCSR and x87 state as
// the ABI wants them.
#ifndef CHOST_FLOAT_H
#define CHOST_FLOAT_H
#include <stdint.h>
#pragma clang assume_nonnull begin

// `stub` for SSE and MMX: (prefix * 256 + opcode) of the two-byte opcode map, prefix 0 none, 1 66, 2 F3,
// 3 F2; CMPccxx is 1024 + prefix * 8 + predicate; CVTSI2Sx, CVTTSx2SI, CVTSx2SI of 64-bit registers are
// 1056 + (prefix - 2) * 3 + 0, 1, 2. `a` is the destination (read and written), `b` the source, 16 bytes
// each (8 for MMX registers), unaligned.

// Instructions under the MXCSR that is loaded, as far as they look at it. The result is EAX (PMOVMSKB, MOVMSKPS).
uint32_t chost_sse(uint32_t stub, void *a, const void *b);
// Has an exception that a function below does not mask end its instruction, with no effect but MXCSR's flags: the
// host raises it, and a handler of SIGFPE comes back. Other SIGFPEs go where they went before. To be called once,
// before any of them.
void chost_float_begin(void);

// Instructions under `*mxcsr`; it comes back with the flags raised.
void chost_sse_float(uint32_t stub, void *a, const void *b, uint32_t *mxcsr);
// COMISx, UCOMISx: the same, and gives RFLAGS.
uint64_t chost_sse_compare(uint32_t stub, const void *a, const void *b, uint32_t *mxcsr);
// CVTSI2Sx.
void chost_sse_from_gpr(uint32_t stub, void *a, uint64_t value, uint32_t *mxcsr);
// CVTSx2SI, CVTTSx2SI.
uint64_t chost_sse_to_gpr(uint32_t stub, const void *b, uint32_t *mxcsr);
// CVTPI2Px: `b` is an MMX register.
void chost_sse_from_mmx(uint32_t stub, void *a, const void *b, uint32_t *mxcsr);
// CVTPx2PI, CVTTPx2PI: `a` is an MMX register.
void chost_sse_to_mmx(uint32_t stub, void *a, const void *b, uint32_t *mxcsr);
// Calls generated code that carries out one vector instruction: `cpu` and `memory` are addresses, the others what
// that code makes of them. Gives RFLAGS.
typedef uint64_t (*chost_vector_form)(void *cpu, void *memory, uintptr_t, uintptr_t, uintptr_t, uintptr_t);
static inline uint64_t chost_vector(uintptr_t form, void *cpu, void *memory, uintptr_t reg, uintptr_t rm,
                                    uintptr_t other, uintptr_t last) {
  return ((chost_vector_form)form)(cpu, memory, reg, rm, other, last);
}
// The same under `*mxcsr`.
uint64_t chost_vector_under(void *cpu, void *memory, uintptr_t reg, uintptr_t rm, uintptr_t other, uintptr_t last,
                            uintptr_t form, uint32_t *mxcsr);

// MMX instructions. The result is EAX (PMOVMSKB).
uint32_t chost_mmx(uint32_t stub, void *a, const void *b);

// Executes an x87 instruction on the 108-byte image (32-bit protected mode FSAVE format) at `image`, with
// these RFLAGS (arithmetic flags only), and gives RFLAGS after it. The image must have no unmasked
// exception pending. `stub` of a register form is (opcode - D8h) * 64 + ModRM - C0h; of a memory form, which
// accesses `memory`, 512 + (opcode - D8h) * 8 + ModRM.reg. Only for instructions that use no
// general-purpose register.
uint64_t chost_x87(uint32_t stub, void *image, void *memory, uint64_t flags);

// Executes an x87 instruction on two operands alone. `frame`: ST(0) and ST(1) in 16 bytes each, both written back; the
// control word, which must mask everything, and the status word that the instruction left. What it pushes is written to
// ST(0)'s place; of instructions that pop, only what they store counts.
void chost_x87_quick(uint32_t stub, void *frame, void *memory);

#pragma clang assume_nonnull end
#endif
