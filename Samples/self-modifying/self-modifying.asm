; Code that changes code: a monitor that keeps decoded or translated instructions must notice every
; one of these, or the sums come out wrong.
%include "machine.inc"
%include "multiboot.inc"
%define ROUNDS          1000
%define SUM             (ROUNDS * (ROUNDS + 1) / 2); 1 + 2 + ... + ROUNDS
        width 32

routine main
        print "Self-modifying code: what ran, what should have run.", 10
        call same_block
        mov edx, SUM
        print "immediate in the same block "
        call verdict
        call next_block
        mov edx, SUM
        print "immediate in the next block "
        call verdict
        call change_opcode
        mov edx, -(ROUNDS / 2)
        print "ADD and SUB by turns        "
        call verdict
        call written_routine
        mov edx, SUM * 3
        print "a routine in fresh memory   "
        call verdict
        call erase
        mov edx, 3
        print "INCs erased by REP STOSB    "
        call verdict
        call across_pages
        mov edx, SUM
        print "immediate across two pages  "
        call verdict
        mov eax, [wrong]
        test eax, eax
        jnz .bad
        print "All sums are right.", 10
        ret
.bad:   call putdec
        print " sums are wrong.", 10
        ret
endroutine

; EAX = what came out, EDX = what should have.
routine verdict
        mov cl, 8
        call puthex
        print " "
        xchg eax, edx
        call puthex
        cmp eax, edx
        jne .wrong
        print " ok", 10
        ret
.wrong: print " WRONG", 10
        inc dword [wrong]
        ret
endroutine

; Writes the immediate of an instruction a few bytes ahead, with no jump between.
routine same_block
        xor ebx, ebx
        mov ecx, ROUNDS
.round: mov [.patched + 1], ecx
.patched:
        mov eax, 0
        add ebx, eax
        dec ecx
        jnz .round
        mov eax, ebx
        ret
endroutine

; The same with a jump between: the patched instruction begins a block of its own.
routine next_block
        xor ebx, ebx
        mov ecx, ROUNDS
.round: mov [.patched + 1], ecx
        jmp .patched
        ud2
.patched:
        mov eax, 0
        add ebx, eax
        dec ecx
        jnz .round
        mov eax, ebx
        ret
endroutine

; Turns ADD EAX, ECX (01 C8) into SUB EAX, ECX (29 C8) and back.
routine change_opcode
        xor eax, eax
        mov ecx, ROUNDS
.round: xor byte [.patched], 0x01 ^ 0x29
        jmp .patched
.patched:
        add eax, ecx
        dec ecx
        jnz .round
        ret
endroutine

; Copies a routine to plain memory, calls it there, and changes it between calls.
routine written_routine
        mov esi, .model
        mov edi, buffer
        mov ecx, .model_end - .model
        rep movsb
        xor ebx, ebx
        mov ecx, ROUNDS
.round: mov [buffer + 1], ecx
        call buffer
        add ebx, eax
        dec ecx
        jnz .round
        mov eax, ebx
        ret
.model: mov eax, 0
        lea eax, [eax + eax * 2]
        ret
.model_end:
endroutine

; Fills five of eight INC EAX with NOPs by one string instruction, after having run all eight.
routine erase
        call .incs
        mov edi, .incs_first
        mov ecx, 5
        mov al, 0x90
        rep stosb
.incs:  xor eax, eax
.incs_first:
        times 8 inc eax
        ret
endroutine

; The instruction lies with two bytes in one page and three in the next.
routine across_pages
        mov edi, boundary - 2
        mov byte [edi], 0xB8            ; MOV EAX, imm32
        mov byte [edi + 5], 0xC3        ; RET
        xor ebx, ebx
        mov ecx, ROUNDS
.round: mov [edi + 1], ecx
        call edi
        add ebx, eax
        dec ecx
        jnz .round
        mov eax, ebx
        ret
endroutine

        section .bss
wrong:  resd 1
buffer: resb 16
        alignb 4096
        resb 4096
boundary:
        resb 16

%include "console.inc"
%include "enter32.inc"
