// A PC in long mode: from the Multiboot loader's flat 32-bit code to ring 0 in 64 bits, and in and out of traps.
#include "entry.h"
#define USER_DS 0x1B
#define USER_CS 0x23
#define TSS 0x28

        .section .multiboot, "a"
        .long 0x1BADB002, 0, -0x1BADB002

        .bss
        .balign 4096
        .globl boot_root
boot_root: .skip 4096
boot_l3: .skip 4096
boot_l2: .skip 4096
        .skip 16384
kernel_stack_top:
program_rsp: .skip 8

        .data
        .balign 8
gdt:    .quad 0
        .quad 0x00AF9B000000FFFF        // 08h: ring 0 code, 64-bit
        .quad 0x00CF93000000FFFF        // 10h: ring 0 data
        .quad 0x00CFF3000000FFFF        // 18h: ring 3 data
        .quad 0x00AFFB000000FFFF        // 20h: ring 3 code, 64-bit
gdt_tss:
        .quad 0x0000890000000067, 0     // 28h: TSS, base filled in at run time
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .quad gdt
        .globl multiboot_info
multiboot_info: .long 0
        .balign 8
tss:    .long 0
        .quad kernel_stack_top          // RSP0
        .skip 90
        .word 104

        .text
        .code32
function start
        cli
        mov $kernel_stack_top, %esp
        mov %ebx, multiboot_info
        movl $boot_l3 + 3, boot_root
        movl $boot_l2 + 3, boot_l3
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
        mov $0xC0000080, %ecx           // EFER: long mode, SYSCALL
        rdmsr
        or $0x101, %eax
        wrmsr
        mov %cr0, %eax
        or $0x80010000, %eax            // paging, write protection
        mov %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $start64
end start

        .code64
function start64
        mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        xor %eax, %eax
        mov %eax, %fs
        mov %eax, %gs
        mov $tss, %eax
        mov %ax, gdt_tss + 2
        shr $16, %eax
        mov %al, gdt_tss + 4
        mov %ah, gdt_tss + 7
        mov $TSS, %eax
        ltr %ax
        mov $kernel_stack_top, %esp
        call kernel_main
end start64

        trap_stubs trap_entry

function timer_stub
        push $0
        push $0x20
        jmp trap_entry
end timer_stub

// SYSCALL saves nothing but RIP and flags in registers: the rest of a trap's frame is made here.
function system_call_stub
        mov %rsp, program_rsp
        mov $kernel_stack_top, %rsp
        push $USER_DS
        push program_rsp
        push %r11
        push $USER_CS
        push %rcx
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
        cmpl $0x80, (%rsp)
        je 1f
        add $16, %rsp
        iretq
1:      mov 16(%rsp), %rcx              // a system call goes back as it came
        mov 32(%rsp), %r11
        mov 40(%rsp), %rsp
        sysretq
end trap_return

function enter_ring3
        mov %rdi, %rsp
        jmp trap_return
end enter_ring3

        programs "programs64.bin"
        .section .note.GNU-stack, "", @progbits
