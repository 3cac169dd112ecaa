// Under Xen's ABI in 32-bit code: from the domain builder, and in and out of traps, in ring 1.
#include "entry.h"
#define HYPERCALL_IRET 23
#define PROGRAM_DS 0xE033

.macro xen_note type, value:vararg
        .section .xen, "a", @note
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \value
2:      .balign 4
        .text
.endm
        xen_note 1, .long start         // entry
        xen_note 3, .long 0             // the kernel's base
        xen_note 4, .long 0             // what to take off physical addresses
        xen_note 5, .asciz "xen-3.0"
        xen_note 6, .asciz "teaching"
        xen_note 8, .asciz "generic"
        xen_note 9, .asciz "yes"        // PAE
        xen_note 16, .long 1            // the module by its frame number

        .bss
        .balign 4096
        .skip 16384
        .globl kernel_stack_top, start_info
kernel_stack_top:
start_info: .skip 4

        .text
function start
        cld
        mov %esi, start_info
        mov $kernel_stack_top, %esp
        mov $PROGRAM_DS, %eax           // flat like the kernel's, and good in both rings
        mov %eax, %ds
        mov %eax, %es
        call kernel_main
end start

        trap_stubs trap_entry

function event_stub
        push $0
        push $0x20
        jmp trap_entry
end event_stub

function failsafe_stub                  // a return to a program that could not be made: no program here asks for one
        ud2
end failsafe_stub

function system_call_stub
        push $0
        push $0x80
end system_call_stub
function trap_entry
        pusha
        mov %esp, %eax
        push %eax
        call trap
        pop %eax
end trap_entry
function trap_return
        popa
        add $8, %esp
        push %eax
        mov $HYPERCALL_IRET, %eax
        int $0x82
end trap_return

function enter_ring3
        mov 4(%esp), %esp
        jmp trap_return
end enter_ring3

        programs "programs32.bin"
        .section .note.GNU-stack, "", @progbits
