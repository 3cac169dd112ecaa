; Devices that are memory: the local APIC at FEE00000h and the I/O APIC at FEC00000h, driven by plain
; loads and stores, and an address where nobody lives.
%include "machine.inc"
%include "multiboot.inc"
%define LAPIC           0xFEE00000
%define LAPIC_ID        (LAPIC + 0x020)
%define LAPIC_VERSION   (LAPIC + 0x030)
%define LAPIC_TPR       (LAPIC + 0x080)
%define LAPIC_EOI       (LAPIC + 0x0B0)
%define LAPIC_SVR       (LAPIC + 0x0F0)
%define LAPIC_ICR       (LAPIC + 0x300)
%define LAPIC_TIMER     (LAPIC + 0x320)
%define LAPIC_INITIAL   (LAPIC + 0x380)
%define LAPIC_CURRENT   (LAPIC + 0x390)
%define LAPIC_DIVIDE    (LAPIC + 0x3E0)
%define IOAPIC          0xFEC00000
%define IOREGSEL        IOAPIC
%define IOWIN           (IOAPIC + 0x10)
%define NOBODY          0xD0000000
%define ICR_SELF        (1 << 18)
%define MASKED          (1 << 16)
%define PERIODIC        (1 << 17)
%define SPURIOUS_VECTOR 0xFF
%define TIMER_VECTOR    0x40
%define PIT_VECTOR      0x41
%define IPI_VECTOR      0x42
%define PIT_PIN         2               ; IRQ 0 is wired to the I/O APIC's pin 2
%define PIT_DIVISOR     1193            ; about 1 kHz
        width 32

routine main
        call remap_pics                 ; and masked: all comes by the APICs
        call set_up_idt
        call show_local_apic
        call use_timer
        call send_ipi
        call use_ioapic
        call touch_nobody
        cli
        ret
endroutine

routine set_up_idt
        mov cl, GATE_INTERRUPT
        mov eax, TIMER_VECTOR
        mov edx, on_timer
        call set_gate
        mov eax, PIT_VECTOR
        mov edx, on_pit
        call set_gate
        mov eax, IPI_VECTOR
        mov edx, on_ipi
        call set_gate
        mov eax, SPURIOUS_VECTOR
        mov edx, on_spurious
        call set_gate
        lidt [idt_pointer]
        ret
endroutine

%macro handler 2                        ; name, counter
routine %1
        inc dword [%2]
        mov dword [LAPIC_EOI], 0
        iretd
endroutine
%endmacro
        handler on_timer, timer_count
        handler on_pit, pit_count
        handler on_ipi, ipi_count

routine on_spurious                     ; takes no EOI
        iretd
endroutine

routine show_local_apic
        print "local APIC id "
        mov eax, [LAPIC_ID]
        shr eax, 24
        call putdec
        mov eax, [LAPIC_VERSION]
        and eax, 0xFF
        cmp eax, 0x10                   ; versions 10h to 15h are built into the processor
        jb .external
        print ", integrated", 10
        jmp .enable
.external:
        print ", an external 82489DX", 10
.enable:
        mov dword [LAPIC_SVR], 0x100 | SPURIOUS_VECTOR
        mov dword [LAPIC_TPR], 0
        mov eax, [LAPIC_SVR]
        print "spurious vector register reads back "
        mov cl, 8
        call puthex
        print 10
        ret
endroutine

; One shot first, then five periods.
routine use_timer
        mov dword [LAPIC_DIVIDE], 0x0B  ; by 1
        mov dword [LAPIC_TIMER], TIMER_VECTOR
        mov dword [LAPIC_INITIAL], 200000
        mov eax, 1
        mov ebx, timer_count
        call wait_for
        mov eax, [LAPIC_CURRENT]
        print "one-shot timer: 1 interrupt, count left "
        call putdec
        print 10
        mov dword [LAPIC_TIMER], TIMER_VECTOR | PERIODIC
        mov dword [LAPIC_INITIAL], 200000
        mov eax, 6
        mov ebx, timer_count
        call wait_for
        mov dword [LAPIC_TIMER], MASKED
        mov dword [LAPIC_INITIAL], 0
        print "periodic timer: 5 interrupts", 10
        ret
endroutine

routine send_ipi
        mov dword [LAPIC_ICR], ICR_SELF | IPI_VECTOR
        mov eax, 1
        mov ebx, ipi_count
        call wait_for
        print "interprocessor interrupt to self: came", 10
        ret
endroutine

routine use_ioapic
        mov dword [IOREGSEL], 1
        mov eax, [IOWIN]
        shr eax, 16
        and eax, 0xFF
        inc eax
        print "I/O APIC: "
        call putdec
        print " pins", 10
        mov dword [IOREGSEL], 0x10 + 2 * PIT_PIN + 1
        mov dword [IOWIN], 0            ; to local APIC 0
        mov dword [IOREGSEL], 0x10 + 2 * PIT_PIN
        mov dword [IOWIN], PIT_VECTOR   ; fixed, edge, active high, unmasked
        mov al, 0x34                    ; channel 0, rate generator
        out PIT + 3, al
        mov al, PIT_DIVISOR & 0xFF
        out PIT, al
        mov al, PIT_DIVISOR >> 8
        out PIT, al
        mov eax, 3
        mov ebx, pit_count
        call wait_for
        mov dword [IOREGSEL], 0x10 + 2 * PIT_PIN
        mov dword [IOWIN], MASKED
        print "PIT through pin 2: 3 interrupts", 10
        ret
endroutine

routine touch_nobody
        mov dword [NOBODY], 0x12345678
        mov eax, [NOBODY]
        print "an address nobody claims, read as 32, 16 and 8 bits: "
        mov cl, 8
        call puthex
        print " "
        movzx eax, word [NOBODY]
        mov cl, 4
        call puthex
        print " "
        movzx eax, byte [NOBODY]
        mov cl, 2
        call puthex
        print 10
        ret
endroutine

routine wait_for                        ; until [EBX] >= EAX, asleep between interrupts
        cli
        cmp [ebx], eax
        jae .done
        sti
        hlt
        jmp wait_for
.done:  ret
endroutine

        section .bss
timer_count: resd 1
pit_count:   resd 1
ipi_count:   resd 1

%include "console.inc"
%include "enter32.inc"
%include "idt32.inc"
%include "pic.inc"
