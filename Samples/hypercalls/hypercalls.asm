; The doorbell: a guest that knows it has a monitor and asks it for things. Number in EAX, arguments
; in EBX, ECX, EDX, ESI, then OUT to port 4852h; the result comes back in EAX. Paging is on, so that
; the monitor has linear addresses to translate.
%include "machine.inc"
%include "multiboot.inc"
%define WINDOW          0x40000000      ; linear address of one page mapped to `page`
%define HOLE            0x50000000      ; nothing is mapped here
        width 32

%macro hypercall 1                      ; number; arguments are in place
        mov eax, %1
        call doorbell
%endmacro

routine doorbell                        ; EAX = number -> EAX = result
        push edx
        mov dx, DOORBELL
        out dx, eax
        pop edx
        ret
endroutine

routine main
        call set_up_paging
        hypercall HC_PROBE
        cmp eax, 1
        jne .nobody
        print "probe: version 1", 10

        mov ebx, text
        mov ecx, text_length
        hypercall HC_WRITE
        print "console_write: "
        call signed
        mov ebx, WINDOW                 ; the same through another linear address
        mov ecx, window_text_length
        hypercall HC_WRITE
        print "console_write through the window: "
        call signed
        mov ebx, text
        xor ecx, ecx
        hypercall HC_WRITE
        print "console_write of nothing: "
        call signed
        mov ebx, HOLE
        mov ecx, 5
        hypercall HC_WRITE
        print "console_write from a hole: "
        call signed

        mov ebx, main
        hypercall HC_MAP
        print "map_query of an identity-mapped address: "
        cmp eax, main
        call same
        mov ebx, WINDOW + 0x123
        hypercall HC_MAP
        print "map_query of the window: "
        cmp eax, page + 0x123
        call same
        mov ebx, HOLE
        hypercall HC_MAP
        print "map_query of a hole: "
        call signed

        hypercall HC_TIME
        mov [before], eax
        mov ecx, 10000
.spin:  loop .spin
        hypercall HC_TIME
        sub eax, [before]
        print "get_time, 10000 LOOPs later: "
        cmp eax, 10000
        jae .later
        print "not yet later", 10
        jmp .time_done
.later: print "at least 10000 ns later", 10
.time_done:

        mov ecx, 3
.yield: hypercall HC_YIELD
        dec ecx
        jnz .yield
        print "yield: 3 times", 10
        hypercall 999
        print "number 999: "
        call signed
        print "shutdown(0)", 10
        ret
.nobody:
        print "No doorbell at port 4852h: EAX comes back as it went.", 10
        ret
endroutine

routine signed                          ; EAX and a line end; keeps nothing
        test eax, eax
        jns .positive
        neg eax
        print "-"
.positive:
        call putdec
        print 10
        ret
endroutine

routine same                            ; ZF: the result is the expected address
        jne .other
        print "right", 10
        ret
.other: print "wrong", 10
        ret
endroutine

; The first 4 MiB by one large page onto themselves, and one 4 KiB page at WINDOW.
routine set_up_paging
        mov dword [directory], PTE_P | PTE_W | PTE_PS
        mov dword [directory + (WINDOW >> 22) * 4], table + (PTE_P | PTE_W)
        mov dword [table], page + (PTE_P | PTE_W)
        mov eax, cr4
        or eax, CR4_PSE
        mov cr4, eax
        mov eax, directory
        mov cr3, eax
        mov eax, cr0
        or eax, CR0_PG | CR0_WP
        mov cr0, eax
        mov esi, window_text
        mov edi, WINDOW
        mov ecx, window_text_length
        rep movsb
        ret
endroutine

        section .rodata
text:   db "This line came by hypercall.", 10
text_length equ $ - text
window_text:
        db "This one from a page mapped elsewhere.", 10
window_text_length equ $ - window_text

        section .bss
before: resd 1
        alignb 4096
directory:
        resb 4096
table:  resb 4096
page:   resb 4096

%include "console.inc"
%include "enter32.inc"
