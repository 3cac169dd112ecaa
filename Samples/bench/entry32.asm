; The 32-bit bench guest's way in, its handlers, and the loops that need exact instructions.
%include "machine.inc"
%include "multiboot.inc"
        extern main
        global idt, gdt_pointer, multiboot_info, window_table, page_zero, page_one
%define CODE_SEL        0x08
%define DATA_SEL        0x10
%define USER_CS         0x1B            ; SYSEXIT wants code at SYSENTER_CS + 16
%define USER_DS         0x23            ; and data at SYSENTER_CS + 24
%define TSS_SEL         0x28
%define RETURN_VECTOR   0x81
%define LAPIC_PAGE      0xFEC00000      ; the 4 MiB that hold the local APIC
%define WINDOW          0x30000000
%define CR0_MP          (1 << 1)
%define CR0_EM          (1 << 2)
%define CR0_TS          (1 << 3)
%define CR4_OSXMMEXCPT  (1 << 10)

        section .bss
        alignb 4096
directory:      resb 4096
window_table:   resb 4096
page_zero:      resb 4096
page_one:       resb 4096
user_stack:     resb 4096
user_stack_top:
        resb 16384
stack_top:
idt:            resb 256 * 8
saved_esp:      resd 1

        section .data
        align 8
gdt:    dq 0
        dq 0x00CF9B000000FFFF           ; 08h: ring 0 code
        dq 0x00CF93000000FFFF           ; 10h: ring 0 data
        dq 0x00CFFB000000FFFF           ; 18h: ring 3 code
        dq 0x00CFF3000000FFFF           ; 20h: ring 3 data
gdt_tss:
        dq 0x0000890000000067           ; 28h: TSS, base filled in at run time
.end:
gdt_pointer:
        dw gdt_tss.end - gdt - 1
        dd gdt
idt_pointer:
        dw 256 * 8 - 1
        dd idt
multiboot_info:
        dd 0
        align 8
tss:    dd 0
tss_esp0:
        dd stack_top, DATA_SEL
        times 22 dd 0
        dw 0, 104                       ; no I/O permission bitmap

        section .text
        width 32
routine start
        cli
        mov esp, stack_top
        mov [multiboot_info], ebx
        call turn_paging_on
        lgdt [gdt_pointer]
        jmp CODE_SEL:.flat
.flat:  mov eax, DATA_SEL
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov eax, tss
        mov [gdt_tss + 2], ax
        shr eax, 16
        mov [gdt_tss + 4], al
        mov [gdt_tss + 7], ah
        mov eax, TSS_SEL
        ltr ax
        lidt [idt_pointer]
        mov ecx, 0x174                  ; IA32_SYSENTER_CS, _ESP, _EIP
        mov eax, CODE_SEL
        xor edx, edx
        wrmsr
        inc ecx
        mov eax, stack_top
        wrmsr
        inc ecx
        mov eax, sysexit_at_once
        wrmsr
        call serial_init
        call main
        jmp shutdown
endroutine

routine turn_paging_on                  ; 4 MiB pages onto themselves, for ring 3 too; the window
        mov eax, PTE_P | PTE_W | PTE_U | PTE_PS
        mov edi, directory
        mov ecx, 256
.next:  mov [edi], eax
        add eax, 0x400000
        add edi, 4
        loop .next
        mov dword [directory + (WINDOW >> 22) * 4], window_table + (PTE_P | PTE_W | PTE_U)
        mov dword [directory + (LAPIC_PAGE >> 22) * 4], LAPIC_PAGE | (PTE_P | PTE_W | PTE_PS)
        mov eax, cr4
        or eax, CR4_PSE | CR4_OSFXSR | CR4_OSXMMEXCPT
        mov cr4, eax
        mov eax, directory
        mov cr3, eax
        mov eax, cr0
        and eax, ~(CR0_EM | CR0_TS)
        or eax, CR0_PG | CR0_WP | CR0_MP
        mov cr0, eax
        ret
endroutine

; Exceptions the tests cause: DIV, UD2 (two bytes each) are passed over, a missing page is put back.
routine skip_two
        add dword [esp], 2
        iretd
endroutine

routine skip_two_with_code
        add esp, 4
        add dword [esp], 2
        iretd
endroutine

routine restore_page
        mov dword [window_table], page_zero + (PTE_P | PTE_W | PTE_U)
        add esp, 4
        iretd
endroutine

routine return_at_once
        iretd
endroutine

routine sysexit_at_once                 ; the user's ESP and EIP are in ECX and EDX
        sysexit
endroutine

; An exception no test expects: its vector is lost, but not the fact.
routine unexpected
        print "bench unexpected exception", 10
        jmp shutdown
endroutine

; (code, count): runs it in ring 3 with the count in EBX until INT 81h.
routine run_in_ring3
        mov eax, [esp + 4]
        mov edx, [esp + 8]
        push ebx
        push ebp
        push esi
        push edi
        mov [saved_esp], esp
        mov [tss_esp0], esp
        mov ecx, USER_DS
        mov ds, ecx
        mov es, ecx
        push USER_DS
        push user_stack_top
        push 2
        push USER_CS
        push eax
        mov ebx, edx
        iretd
endroutine

routine come_back                       ; INT 81h
        mov esp, [saved_esp]
        mov eax, DATA_SEL
        mov ds, eax
        mov es, eax
        pop edi
        pop esi
        pop ebp
        pop ebx
        ret
endroutine

routine user_sysenter
        mov ecx, esp
        mov edx, .back
        sysenter
.back:  dec ebx
        jnz user_sysenter
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
.next:  mov eax, [ecx]
        dec ebx
        jnz .next
        int RETURN_VECTOR
endroutine

routine loop_pageskip                   ; (count)
        mov edx, [esp + 4]
        mov ecx, WINDOW + 4096
.next:  mov eax, [ecx]
        dec edx
        jnz .next
        ret
endroutine

routine loop_iret                       ; (count)
        mov ecx, [esp + 4]
.next:  pushfd
        push CODE_SEL
        push .back
        iretd
.back:  dec ecx
        jnz .next
        ret
endroutine

routine loop_callret                    ; (count)
        mov ecx, [esp + 4]
.next:  call .nothing
        call .nothing
        dec ecx
        jnz .next
        ret
.nothing:
        ret
endroutine

routine loop_icallret                   ; (count)
        mov ecx, [esp + 4]
        mov eax, .nothing
.next:  call eax
        call eax
        dec ecx
        jnz .next
        ret
.nothing:
        ret
endroutine

routine loop_farcall                    ; (count)
        mov ecx, [esp + 4]
.next:  call CODE_SEL:.nothing
        dec ecx
        jnz .next
        ret
.nothing:
        retf
endroutine

routine loop_segload                    ; (count)
        mov ecx, [esp + 4]
        mov eax, USER_DS
.next:  mov fs, eax
        mov ds, eax
        dec ecx
        jnz .next
        mov eax, DATA_SEL
        mov ds, eax
        ret
endroutine

; (count): patches the immediate of the instruction it runs next. -> EAX = the sum
routine loop_smc
        push ebx
        mov ebx, [esp + 8]
        xor ecx, ecx
        xor edx, edx
.next:  inc ecx
        mov [.patched + 1], ecx
.patched:
        mov eax, 0
        add edx, eax
        dec ebx
        jnz .next
        mov eax, edx
        pop ebx
        ret
endroutine

%include "console.inc"
