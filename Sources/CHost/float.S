# Tables of one instruction and a RET each, and the functions that load the host's registers, call into a
# table and store them again (chost_float.h). Assembly, because a C compiler cannot be given an opcode that
# is known only at run time, nor be kept from using XMM0 between two inline statements.
	.intel_syntax noprefix
	.section .text.chost_float, "ax", @progbits

# Slots of 8 bytes: prefix (or NOP), 0F, opcode, ModRM C1 (xmm0, xmm1 / mm0, mm1 / eax, xmm1 / xmm0, ecx), RET.
	.balign 64
sse_stubs:
.macro SSE_STUBS prefix
	.set opcode, 0
	.rept 256
	.balign 8, 0xCC
	.byte \prefix, 0x0F, opcode, 0xC1, 0xC3
	.set opcode, opcode + 1
	.endr
.endm
	SSE_STUBS 0x90
	SSE_STUBS 0x66
	SSE_STUBS 0xF3
	SSE_STUBS 0xF2
# CMPccPS, PD, SS, SD.
.macro COMPARE_STUBS prefix
	.set predicate, 0
	.rept 8
	.balign 8, 0xCC
	.byte \prefix, 0x0F, 0xC2, 0xC1, predicate, 0xC3
	.set predicate, predicate + 1
	.endr
.endm
	COMPARE_STUBS 0x90
	COMPARE_STUBS 0x66
	COMPARE_STUBS 0xF3
	COMPARE_STUBS 0xF2
# Conversions with a 64-bit register (REX.W): xmm0, rcx / rax, xmm1.
.macro WIDE_STUB prefix, opcode
	.balign 8, 0xCC
	.byte \prefix, 0x48, 0x0F, \opcode, 0xC1, 0xC3
.endm
	WIDE_STUB 0xF3, 0x2A
	WIDE_STUB 0xF3, 0x2C
	WIDE_STUB 0xF3, 0x2D
	WIDE_STUB 0xF2, 0x2A
	WIDE_STUB 0xF2, 0x2C
	WIDE_STUB 0xF2, 0x2D

# Slots of 4 bytes: opcode, ModRM, RET. First the register forms, then the memory forms on [rdi].
	.balign 64
x87_stubs:
	.set opcode, 0xD8
	.rept 8
	.set modrm, 0xC0
	.rept 64
	.byte opcode, modrm, 0xC3, 0xCC
	.set modrm, modrm + 1
	.endr
	.set opcode, opcode + 1
	.endr
	.set opcode, 0xD8
	.rept 8
	.set modrm, 0x07
	.rept 8
	.byte opcode, modrm, 0xC3, 0xCC
	.set modrm, modrm + 8
	.endr
	.set opcode, opcode + 1
	.endr

.macro FUNCTION name
	.balign 16
	.globl \name
	.type \name, @function
\name:
.endm
.macro STUB
	mov	edi, edi
	lea	rax, [rip + sse_stubs]
	lea	rax, [rax + rdi * 8]
.endm
# A call whose instruction may raise SIGFPE: chost_float_begin's handler comes back behind it.
	.section .rodata.chost_float, "a", @progbits
	.balign 4
	.globl chost_float_returns
	.hidden chost_float_returns
chost_float_returns:
	.section .rodata.chost_x87, "a", @progbits
x87_control:
	.word	0x37F
	.section .text.chost_float, "ax", @progbits
.macro CALL_GUARDED
	call	rax
99:
	.section .rodata.chost_float, "a", @progbits
	.long	99b - .
	.section .text.chost_float, "ax", @progbits
.endm
# The guest's MXCSR at [\control] around the call; the host's is kept on the stack.
.macro CALL_UNDER control
	sub	rsp, 24
	stmxcsr	[rsp]
	ldmxcsr	[\control]
	CALL_GUARDED
	stmxcsr	[\control]
	ldmxcsr	[rsp]
	add	rsp, 24
.endm

FUNCTION chost_sse
	STUB
	movdqu	xmm0, [rsi]
	movdqu	xmm1, [rdx]
	call	rax
	movdqu	[rsi], xmm0
	ret

FUNCTION chost_sse_float
	STUB
	movdqu	xmm0, [rsi]
	movdqu	xmm1, [rdx]
	CALL_UNDER rcx
	movdqu	[rsi], xmm0
	ret

FUNCTION chost_sse_compare
	STUB
	movdqu	xmm0, [rsi]
	movdqu	xmm1, [rdx]
	sub	rsp, 24
	stmxcsr	[rsp]
	ldmxcsr	[rcx]
	CALL_GUARDED
	pushfq
	pop	rax
	stmxcsr	[rcx]
	ldmxcsr	[rsp]
	add	rsp, 24
	ret

FUNCTION chost_sse_from_gpr
	STUB
	movdqu	xmm0, [rsi]
	mov	r8, rcx
	mov	rcx, rdx
	CALL_UNDER r8
	movdqu	[rsi], xmm0
	ret

FUNCTION chost_sse_to_gpr
	STUB
	movdqu	xmm1, [rsi]
	CALL_UNDER rdx
	ret

FUNCTION chost_sse_from_mmx
	STUB
	movdqu	xmm0, [rsi]
	movq	mm1, [rdx]
	CALL_UNDER rcx
	movdqu	[rsi], xmm0
	emms
	ret

FUNCTION chost_sse_to_mmx
	STUB
	movdqu	xmm1, [rdx]
	CALL_UNDER rcx
	movq	[rsi], mm0
	emms
	ret

FUNCTION chost_mmx
	STUB
	movq	mm0, [rsi]
	movq	mm1, [rdx]
	call	rax
	movq	[rsi], mm0
	emms
	ret

FUNCTION chost_x87
	mov	edi, edi
	lea	rax, [rip + x87_stubs]
	lea	rax, [rax + rdi * 4]
	mov	rdi, rdx
	frstor	[rsi]
	push	rcx
	popfq
	call	rax
	pushfq
	pop	rax
	fnsave	[rsi]
	ret

# The operands go behind each other onto an empty stack. What the instruction pops, or pushes, EMMS makes good; exception
# flags, which storing from an empty register sets too, must not stay.
FUNCTION chost_x87_quick
	mov	edi, edi
	lea	rax, [rip + x87_stubs]
	lea	rax, [rax + rdi * 4]
	mov	rdi, rdx
	fldcw	[rsi + 32]
	fld	tbyte ptr [rsi + 16]
	fld	tbyte ptr [rsi]
	call	rax
	fnstsw	[rsi + 34]
	fstp	tbyte ptr [rsi]
	fstp	tbyte ptr [rsi + 16]
	fnstsw	ax
	test	al, 0x7F
	jz	1f
	fnclex
1:	emms
	fldcw	[rip + x87_control]
	ret

# RDI to R9 are the form's arguments; behind the return address lie the form and the place of MXCSR.
FUNCTION chost_vector_under
	mov	rax, [rsp + 8]
	push	rbx
	mov	rbx, [rsp + 24]
	sub	rsp, 16
	stmxcsr	[rsp]
	ldmxcsr	[rbx]
	CALL_GUARDED
	stmxcsr	[rbx]
	ldmxcsr	[rsp]
	add	rsp, 16
	pop	rbx
	ret

	.section .rodata.chost_float, "a", @progbits
	.long	0

	.section .note.GNU-stack, "", @progbits
