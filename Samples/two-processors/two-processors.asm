; A second processor: started by INIT and SIPI, it counts together with the first, passes a word to and fro, is woken
; from HLT by interrupts between processors, and is started anew while it runs. Needs two of them.
%include "machine.inc"
%include "multiboot.inc"
%define APIC            0xFEE00000      ; where every processor sees its own
%define APIC_EOI        (APIC + 0xB0)
%define APIC_SVR        (APIC + 0xF0)
%define APIC_ICR        (APIC + 0x300)
%define APIC_ICR_HIGH   (APIC + 0x310)
%define APIC_ENABLED    0x1FF
%define ICR_INIT        0x4500
%define ICR_STARTUP     0x4600
%define ICR_FIXED       0x4000
%define WAKE            0x30            ; vector that wakes the second processor
%define ANSWER          0x31            ; and the one it answers with
%define TRAMPOLINE      0x8000          ; below 1 MiB, on a page of its own: the SIPI's vector is its number
%define COUNTS          20000
%define PASSES          100
%define WAKES           100
%define PATIENCE        100000
        width 32
%include "console.inc"
%include "enter32.inc"
%include "idt32.inc"
%include "pic.inc"
        section .text

routine main
        call remap_pics                 ; and masked: interrupts come from the other processor alone
        mov dword [APIC_SVR], APIC_ENABLED
        call set_up_idt
        call copy_trampoline
        mov dword [job], job_count
        call start_second
        cmp dword [starts], 1
        jne .alone
        print "The second processor runs.", 10
        call count
        call await_second
        mov eax, [counter]
        call putdec
        print " counts by both", 10
        call pass_words
        print "A word went to and fro "
        mov eax, [word_passed]
        call putdec
        print " times.", 10
        call wake_second
        mov eax, [answers]
        call putdec
        print " answers from its sleep", 10
        mov dword [job], job_spin
        mov dword [second_done], 0
        call start_second
        mov dword [job], job_nothing
        call start_second
        print "Started "
        mov eax, [starts]
        call putdec
        print " times: once from its sleep, once from its work.", 10
        ret
.alone: print "There is one processor only: run it with --cpus 2.", 10
        ret
endroutine

; What the second processor executes first, in real mode at TRAMPOLINE.
        section .data
        bits 16
trampoline:
        cli
        xor ax, ax
        mov ds, ax
        o32 lgdt [TRAMPOLINE + (second_gdt - trampoline)]
        mov eax, cr0
        or al, CR0_PE
        mov cr0, eax
        jmp dword CODE_SEL:second
second_gdt:
        dw gdt.end - gdt - 1
        dd gdt
trampoline_end:
        width 32

routine copy_trampoline
        mov esi, trampoline
        mov edi, TRAMPOLINE
        mov ecx, trampoline_end - trampoline
        rep movsb
        ret
endroutine

; INIT and SIPI for the second processor, until it has said that it runs or no patience is left.
routine start_second
        mov ebx, [starts]
        mov dword [APIC_ICR_HIGH], 1 << 24
        mov dword [APIC_ICR], ICR_INIT
        mov dword [APIC_ICR], ICR_STARTUP | TRAMPOLINE >> 12
        mov ecx, PATIENCE
.wait:  cmp [starts], ebx
        jne .done
        pause
        loop .wait
.done:  ret
endroutine

routine await_second
        cmp dword [second_done], 0
        jne .done
        pause
        jmp await_second
.done:  ret
endroutine

routine second                          ; the second processor, in flat protected mode
        mov eax, DATA_SEL
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov esp, second_stack_top
        lidt [idt_pointer]
        mov dword [APIC_SVR], APIC_ENABLED
        mov eax, [job]
        lock inc dword [starts]
        jmp eax
endroutine

routine job_count                       ; the whole tour with the first processor
        call count
        mov dword [second_done], 1
        mov ebx, 1                      ; whose turn the word says it is
        call pass
        sti
.sleep: hlt
        jmp .sleep
endroutine

routine job_spin
        inc dword [spins]
        jmp job_spin
endroutine

routine job_nothing
        cli
        hlt
        jmp job_nothing
endroutine

routine count
        mov ecx, COUNTS
.again: lock inc dword [counter]
        loop .again
        ret
endroutine

routine pass_words
        xor ebx, ebx
        call pass
.last:  cmp dword [word_passed], PASSES * 2
        je .done
        pause
        jmp .last
.done:  ret
endroutine

; Passes the word PASSES times: EBX = 0 for who begins.
routine pass
        mov ecx, PASSES
.again: mov eax, [word_passed]
        and eax, 1
        cmp eax, ebx
        je .mine
        pause
        jmp .again
.mine:  inc dword [word_passed]
        loop .again
        ret
endroutine

; Wakes the second processor WAKES times, each time asleep until the answer comes.
routine wake_second
        mov ecx, WAKES
.again: mov ebx, [answers]
        mov dword [APIC_ICR_HIGH], 1 << 24
        mov dword [APIC_ICR], ICR_FIXED | WAKE
.sleep: cli
        cmp [answers], ebx
        jne .next
        sti
        hlt                             ; STI's shadow: no answer slips in before HLT
        jmp .sleep
.next:  sti
        loop .again
        ret
endroutine

routine on_wake                         ; on the second processor
        mov dword [APIC_EOI], 0
        mov dword [APIC_ICR_HIGH], 0
        mov dword [APIC_ICR], ICR_FIXED | ANSWER
        iretd
endroutine

routine on_answer                       ; on the first
        inc dword [answers]
        mov dword [APIC_EOI], 0
        iretd
endroutine

routine set_up_idt
        mov cl, GATE_INTERRUPT
        mov eax, WAKE
        mov edx, on_wake
        call set_gate
        mov eax, ANSWER
        mov edx, on_answer
        call set_gate
        lidt [idt_pointer]
        ret
endroutine


        section .bss
        alignb 16
        resb 4096
second_stack_top:
job:            resd 1
starts:         resd 1
counter:        resd 1
second_done:    resd 1
word_passed:    resd 1
answers:        resd 1
spins:          resd 1
