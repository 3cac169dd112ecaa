// A PC in 32-bit protected mode with PAE paging, and in and out of traps.
#include "entry.h"
#define USER_DS 0x23
#define TSS 0x28

        .section .multiboot, "a"
        .long 0x1BADB002, 0, -0x1BADB002

        .bss
        .balign 4096
        .globl boot_root
boot_root: .skip 4096
boot_l2: .skip 4096
        .skip 16384
kernel_stack_top:

        .data
        .balign 8
gdt:    .quad 0
        .quad 0x00CF9B000000FFFF        // 08h: ring 0 code
        .quad 0x00CF93000000FFFF        // 10h: ring 0 data
        .quad 0x00CFFB000000FFFF        // 18h: ring 3 code
        .quad 0x00CFF3000000FFFF        // 20h: ring 3 data
gdt_tss:
        .quad 0x0000890000000067        // 28h: TSS, base filled in at run time
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt
        .globl multiboot_info
multiboot_info: .long 0
        .balign 8
tss:    .long 0, kernel_stack_top, 0x10 // ESP0, SS0
        .skip 88
        .word 0, 104

        .text
function start
        cli
        mov $kernel_stack_top, %esp
        mov %ebx, multiboot_info
        movl $boot_l2 + 1, boot_root
        mov $0x83, %eax                 // 64 MiB onto themselves in large pages
        mov $boot_l2, %edi
        mov $32, %ecx
1:      mov %eax, (%edi)
        add $0x200000, %eax
        add $8, %edi
        loop 1b
        mov $boot_root, %eax
        mov %eax, %cr3
        mov %cr4, %eax
        or $0x20, %eax                  // PAE
        mov %eax, %cr4
        mov %cr0, %eax
        or $0x80010000, %eax            // paging, write protection
        mov %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $1f
1:      mov $USER_DS, %eax              // flat like the kernel's, and good in both rings
        mov %eax, %ds
        mov %eax, %es
        mov $0x10, %eax
        mov %eax, %ss
        mov $tss, %eax
        mov %ax, gdt_tss + 2
        shr $16, %eax
        mov %al, gdt_tss + 4
        mov %ah, gdt_tss + 7
        mov $TSS, %eax
        ltr %ax
        call kernel_main
end start

        trap_stubs trap_entry

function timer_stub
        push $0
        push $0x20
        jmp trap_entry
end timer_stub

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
        iret
end trap_return

function enter_ring3
        mov 4(%esp), %esp
        jmp trap_return
end enter_ring3

        programs "programs32.bin"
        .section .note.GNU-stack, "", @progbits
