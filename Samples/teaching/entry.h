// For the assembler: what every port's entry shares.
.macro function name
  .globl \name
  .type \name, @function
\name:
.endm
.macro end name
  .size \name, . - \name
.endm

// The processor pushes an error code for these by itself.
.macro has_error vector
  .set pushes, 0
  .irp with, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
    .if \vector == \with
      .set pushes, 1
    .endif
  .endr
.endm

// 32 stubs of one size: error code, vector, then the common part `\to`; `\before` goes first in each.
.macro trap_stubs to, before
  .globl trap_stub_0, trap_stub_end
  .balign 32
trap_stub_0:
  .set number, 0
  .rept 32
    .balign 32
    \before
    has_error number
    .if pushes == 0
      push $0
    .endif
    push $number
    jmp \to
    .set number, number + 1
  .endr
  .balign 32
trap_stub_end:
.endm

#ifdef __x86_64__
.macro push_registers
  push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi
  push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15
.endm
.macro pop_registers
  pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8
  pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax
.endm
#endif

// The programs, linked by themselves, on pages of their own.
.macro programs file
  .section .programs, "a"
  .globl programs_start, programs_end
  .balign 4096
programs_start:
  .incbin "\file"
  .balign 4096
programs_end:
.endm
