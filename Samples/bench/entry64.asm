; The 64-bit bench guest's way in, its handlers, and the loops that need exact instructions.
%include "machine.inc"
%include "long.inc"
%include "multiboot.inc"
        default rel
        extern main
        global idt, gdt_pointer, multiboot_info, window_table, per_cpu, system_stack_top
%define RETURN_VECTOR   0x81
%define LAPIC_PAGE      0xFEE00000
%define WINDOW          0x30000000      ; a 2 MiB hole with 4 KiB pages, for the paging tests

        section .bss
        alignb 4096
root:           resb 4096
pdpt:           resb 4096
directory:      resb 4096
high_directory: resb 4096
window_table:   resb 4096
user_stack:     resb 4096
user_stack_top:
system_stack:   resb 4096
system_stack_top:
saved_rsp:      resq 1
per_cpu:        resq 2                  ; a stack for system calls, the caller's

        section .text
        width 32
routine build_page_tables               ; 1 GiB onto itself, for ring 3 too; the local APIC; the window
        mov dword [root], pdpt + (PTE_P | PTE_W | PTE_U)
        mov dword [pdpt], directory + (PTE_P | PTE_W | PTE_U)
        mov dword [pdpt + 3 * 8], high_directory + (PTE_P | PTE_W)
        mov dword [high_directory + ((LAPIC_PAGE >> 21) & 511) * 8], LAPIC_PAGE | (PTE_P | PTE_W | PTE_PS)
        mov eax, PTE_P | PTE_W | PTE_U | PTE_PS
        mov edi, directory
        mov ecx, 512
.next:  mov [edi], eax
        add eax, 0x200000
        add edi, 8
        loop .next
        mov dword [directory + (WINDOW >> 21) * 8], window_table + (PTE_P | PTE_W | PTE_U)
        mov eax, root
        ret
endroutine

        width 64
; Exceptions the tests cause: DIV, UD2 (two bytes each) are passed over, a missing page is put back.
routine skip_two
        add qword [rsp], 2
        iretq
endroutine

routine skip_two_with_code
        add rsp, 8
        add qword [rsp], 2
        iretq
endroutine

routine restore_page
        push rax
        lea rax, [page_zero + (PTE_P | PTE_W | PTE_U)]
        mov [window_table], rax
        pop rax
        add rsp, 8
        iretq
endroutine

        section .bss
        alignb 4096
        global page_zero, page_one
page_zero:      resb 4096
page_one:       resb 4096
        section .text

routine return_at_once
        iretq
endroutine

routine sysret_at_once
        o64 sysret
endroutine

; As kernels do: to a stack of its own, every register saved, and back.
routine sysret_with_stack
        swapgs
        mov [gs:8], rsp
        mov rsp, [gs:0]
        push_all
        pop_all
        mov rsp, [gs:8]
        swapgs
        o64 sysret
endroutine

; An exception no test expects: its vector is lost, but not the fact.
routine unexpected
        print "bench unexpected exception", 10
        jmp shutdown
endroutine

; RDI = code, ESI = count: runs it in ring 3 with the count in EBX until INT 81h.
routine run_in_ring3
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov [saved_rsp], rsp
        mov [tss_rsp0], rsp
        push USER_DS
        lea rax, [user_stack_top]
        push rax
        push 2
        push USER_CS
        push rdi
        mov ebx, esi
        iretq
endroutine

routine come_back                       ; INT 81h
        mov rsp, [saved_rsp]
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret
endroutine

routine user_syscall
        syscall
        dec ebx
        jnz user_syscall
        int RETURN_VECTOR
endroutine

routine user_int80
        int 0x80
        dec ebx
        jnz user_int80
        int RETURN_VECTOR
endroutine

routine user_divzero
        xor ecx, ecx
.next:  div ecx
        dec ebx
        jnz .next
        int RETURN_VECTOR
endroutine

routine user_pageskip                   ; a load of two bytes
        mov ecx, WINDOW + 4096
.next:  mov eax, [rcx]
        dec ebx
        jnz .next
        int RETURN_VECTOR
endroutine

routine loop_pageskip                   ; EDI = count
        mov ecx, WINDOW + 4096
.next:  mov eax, [rcx]
        dec edi
        jnz .next
        ret
endroutine

routine loop_iret                       ; EDI = count
.next:  mov rax, rsp
        push KERNEL_DS
        push rax
        pushfq
        push KERNEL_CS
        lea rax, [.back]
        push rax
        iretq
.back:  dec edi
        jnz .next
        ret
endroutine

routine loop_callret
.next:  call .nothing
        call .nothing
        dec edi
        jnz .next
        ret
.nothing:
        ret
endroutine

routine loop_icallret
        lea rax, [.nothing]
.next:  call rax
        call rax
        dec edi
        jnz .next
        ret
.nothing:
        ret
endroutine

routine loop_segload
        mov eax, USER_DS
.next:  mov fs, eax
        mov ds, eax
        dec edi
        jnz .next
        mov eax, KERNEL_DS
        mov ds, eax
        ret
endroutine

; Patches the immediate of the instruction it runs next. -> RAX = the sum
routine loop_smc
        xor ecx, ecx
        xor edx, edx
.next:  inc ecx
        mov [.patched + 1], ecx
.patched:
        mov eax, 0
        add edx, eax
        dec edi
        jnz .next
        mov eax, edx
        ret
endroutine

%include "console.inc"
%include "enter64.inc"
