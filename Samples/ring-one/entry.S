# Notes, entry, trap handlers and the two ways to ring 3 of a kernel in ring 1.
  .macro note type, value:vararg
  .balign 4
  .long 4, 2f - 1f, \type
  .asciz "Xen"
1: \value
2:
  .endm
  .section .note.Xen, "a"
  note 6, .asciz "ring-one"
  note 5, .asciz "xen-3.0"
  note 8, .asciz "generic"
  note 9, .asciz "yes"
  note 3, .long 0xC0000000
  note 4, .long 0
  note 1, .long start
  note 2, .long hypercall_page

  .text
  .globl start
start:
  pushl $0
  pushl %esi
  call main

# handler NAME, VECTOR, has an error code: the registers as an array, the vector and the code above them.
  .macro handler name, vector, code
  .globl \name
\name:
  .if !\code
  pushl $0
  .endif
  pushl $\vector
  jmp common
  .endm
  handler on_divide, 0, 0
  handler on_invalid, 6, 0
  handler on_protection, 13, 1
  handler on_page_fault, 14, 1
  handler on_call, 0x80, 0
  handler on_event, 0xF3, 0

common:
  pushal
  pushl %ds
  movl $0xE021, %eax
  movl %eax, %ds
  movl %eax, %es
  pushl %esp
  call trap
  addl $4, %esp
  popl %ds
  popal
  addl $8, %esp
  # The frame left is EIP, CS with the mask, EFLAGS, perhaps ESP and SS: IRET the hypercall wants EAX before them.
  movb $0, 6(%esp)
  jmp hypercall_page + 23 * 32

# to_ring3(eip, esp, by the processor's own IRET): comes back when a trap sets back_esp's stack.
  .globl to_ring3, back
to_ring3:
  pushal
  movl %esp, back_esp
  movl 36(%esp), %eax
  movl 40(%esp), %ecx
  movl 44(%esp), %edx
  pushl $0xE033
  pushl %ecx
  pushl $0x202
  pushl $0xE02B
  pushl %eax
  # IRET to an outer ring, the hypercall as well, empties data segments of the inner one: a program needs its own.
  movl $0xE033, %eax
  movl %eax, %ds
  movl %eax, %es
  testl %edx, %edx
  jz 1f
  iretl
1: jmp hypercall_page + 23 * 32
back:
  movl $0xE021, %eax
  movl %eax, %ds
  movl %eax, %es
  movl back_esp, %esp
  popal
  ret

  .section .pages, "aw"
  .balign 4096
  .globl hypercall_page, user_code, user_stack, table, plain, shared
hypercall_page: .skip 4096
user_code:
  movl $39, %eax
  int $0x80
user_reads:
  movl start, %eax
user_calls:
  int $0x82
user_halts:
  hlt
  .globl user_reads, user_calls, user_halts
  .balign 4096
user_stack: .skip 4096
table: .skip 4096
plain: .skip 4096
shared: .skip 4096
  .bss
back_esp: .skip 4
