// Under Xen's ABI in 64-bit code: from the domain builder, and in and out of traps, in ring 3 like the programs.
#include "entry.h"
#define HYPERCALL_IRET 23

.macro xen_note type, value:vararg
        .section .xen, "a", @note
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \value
2:      .balign 4
        .text
.endm
        xen_note 1, .quad start         // entry
        xen_note 3, .quad 0             // the kernel's base
        xen_note 4, .quad 0             // what to take off physical addresses
        xen_note 5, .asciz "xen-3.0"
        xen_note 6, .asciz "teaching"
        xen_note 8, .asciz "generic"
        xen_note 16, .quad 1            // the module by its frame number

        .bss
        .balign 4096
        .skip 16384
        .globl kernel_stack_top, start_info
kernel_stack_top:
start_info: .skip 8

        .text
function start
        cld
        mov %rsi, start_info
        mov $kernel_stack_top, %esp
        call kernel_main
end start

        trap_stubs trap_entry, "pop %rcx; pop %r11;"

function event_stub
        pop %rcx
        pop %r11
        push $0
        push $0x20
        jmp trap_entry
end event_stub

function failsafe_stub                  // a return to a program that could not be made: no program here asks for one
        ud2
end failsafe_stub

function system_call_stub
        pop %rcx
        pop %r11
        push $0
        push $0x80
end system_call_stub
function trap_entry
        push_registers
        mov %rsp, %rdi
        call trap
end trap_entry
function trap_return
        pop_registers
        add $16, %rsp
        push $0
        push %rcx
        push %r11
        push %rax
        mov $HYPERCALL_IRET, %eax
        syscall
end trap_return

function enter_ring3
        mov %rdi, %rsp
        jmp trap_return
end enter_ring3

        programs "programs64.bin"
        .section .note.GNU-stack, "", @progbits
