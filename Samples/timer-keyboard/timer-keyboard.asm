; Interrupts as on a PC of 1990: the 8254 ticks at 100 Hz on IRQ 0, the keyboard comes on IRQ 1, the
; serial line on IRQ 4, all through the 8259A pair. Keys and typed characters are echoed. Ends on Esc
; or after as many ticks as the command line says (100; 0 = only on Esc).
%include "machine.inc"
%include "multiboot.inc"
%define HZ              100
%define PIT_DIVISOR     (1193182 / HZ)
%define DEFAULT_TICKS   100
%define REPORT          25              ; ticks between two reports
%define KEYBOARD_DATA   0x60
%define KEYBOARD_STATUS 0x64
%define ESCAPE          27
%define SCAN_ESCAPE     1
%define EOI             0x20
%define QUEUE_SIZE      256             ; of entries: source << 8 | byte
%define FROM_KEYBOARD   0
%define FROM_SERIAL     1
        width 32

routine main
        call read_limit
        call remap_pics
        call set_up_idt
        call set_up_devices
        print "PIT at 100 Hz on IRQ 0, keyboard on IRQ 1, COM1 on IRQ 4. Esc ends.", 10
        mov al, ~(1 << 0 | 1 << 1 | 1 << 4)
        out PIC1 + 1, al
        mov dword [next_report], REPORT
.loop:  cli
        call report_ticks
        call echo_input
        cmp byte [ended], 0
        jne .over
        mov eax, [limit]
        test eax, eax
        jz .sleep
        cmp [ticks], eax
        jae .over
.sleep: sti
        hlt                             ; STI's shadow: no interrupt slips in before HLT
        jmp .loop
.over:  mov al, 0xFF
        out PIC1 + 1, al
        print "Done.", 10
        ret
endroutine

; The first number after the program's name on the command line.
routine read_limit
        mov dword [limit], DEFAULT_TICKS
        mov eax, [multiboot_info]
        mov esi, [eax + MULTIBOOT_CMDLINE]
        test esi, esi
        jz .done
.name:  lodsb
        test al, al
        jz .done
        cmp al, ' '
        jne .name
        xor ebx, ebx
        xor ecx, ecx                    ; digits seen
.digit: lodsb
        sub al, '0'
        cmp al, 9
        ja .number_ends
        movzx eax, al
        imul ebx, ebx, 10
        add ebx, eax
        inc ecx
        jmp .digit
.number_ends:
        test ecx, ecx
        jz .done
        mov [limit], ebx
.done:  ret
endroutine

routine set_up_idt
        mov cl, GATE_INTERRUPT
        mov eax, 0x20
        mov edx, on_timer
        call set_gate
        mov eax, 0x21
        mov edx, on_keyboard
        call set_gate
        mov eax, 0x24
        mov edx, on_serial
        call set_gate
        lidt [idt_pointer]
        ret
endroutine

routine set_up_devices
        mov al, 0x34                    ; channel 0, low then high byte, rate generator
        out PIT + 3, al
        mov al, PIT_DIVISOR & 0xFF
        out PIT, al
        mov al, PIT_DIVISOR >> 8
        out PIT, al
        call keyboard_ready
        mov al, 0xAE                    ; keyboard interface on
        out KEYBOARD_STATUS, al
        call keyboard_ready
        mov al, 0x60                    ; write the command byte:
        out KEYBOARD_STATUS, al
        call keyboard_ready
        mov al, 0x45                    ; translate to set 1, system flag, IRQ 1 on
        out KEYBOARD_DATA, al
        call keyboard_ready
.drain: in al, KEYBOARD_STATUS
        test al, 1
        jz .serial
        in al, KEYBOARD_DATA
        jmp .drain
.serial:
        mov dx, COM1 + 1
        mov al, 1                       ; interrupt on received data
        out dx, al
        mov dx, COM1 + 4
        mov al, 0x0B                    ; DTR, RTS, OUT2 (which lets the interrupt out)
        out dx, al
        ret
endroutine

routine keyboard_ready                  ; until the controller has read what it was told
        mov ecx, 100000
.wait:  in al, KEYBOARD_STATUS
        test al, 2
        jz .done
        loop .wait
.done:  ret
endroutine

routine on_timer
        push eax
        inc dword [ticks]
        mov al, EOI
        out PIC1, al
        pop eax
        iretd
endroutine

routine on_keyboard
        push eax
        in al, KEYBOARD_DATA
        mov ah, FROM_KEYBOARD
        call enqueue
        mov al, EOI
        out PIC1, al
        pop eax
        iretd
endroutine

routine on_serial
        push eax
        push edx
.next:  mov dx, COM1 + 5
        in al, dx
        test al, 1
        jz .empty
        mov dx, COM1
        in al, dx
        mov ah, FROM_SERIAL
        call enqueue
        jmp .next
.empty: mov al, EOI
        out PIC1, al
        pop edx
        pop eax
        iretd
endroutine

routine enqueue                         ; AX = source and byte; the oldest is lost when full
        push ebx
        movzx ebx, byte [queue_head]
        mov [queue + ebx * 2], ax
        inc byte [queue_head]
        pop ebx
        ret
endroutine

routine report_ticks
        mov eax, [next_report]
        cmp [ticks], eax
        jb .done
        call putdec
        print " ticks", 10
        add dword [next_report], REPORT
        jmp report_ticks
.done:  ret
endroutine

routine echo_input
        movzx ebx, byte [queue_tail]
        cmp bl, [queue_head]
        je .done
        mov ax, [queue + ebx * 2]
        inc byte [queue_tail]
        cmp ah, FROM_SERIAL
        je .serial
        cmp al, SCAN_ESCAPE
        je .escape
        test al, 0x80
        jnz echo_input                  ; a key let go
        print "key, scan code "
        mov cl, 2
        call puthex
        movzx eax, al
        cmp eax, scan_end - scan_table
        jae .unnamed
        mov al, [scan_table + eax]
        test al, al
        jz .unnamed
        print ": "
        call putc
.unnamed:
        print 10
        jmp echo_input
.serial:
        cmp al, ESCAPE
        je .escape
        print "typed: "
        call putc
        print 10
        jmp echo_input
.escape:
        mov byte [ended], 1
.done:  ret
endroutine

        section .rodata
scan_table:                             ; set 1, a US keyboard, without shift
        db 0, 0, "1234567890-=", 0, 0, "qwertyuiop[]", 0, 0, "asdfghjkl;'`", 0, "\zxcvbnm,./", 0, 0, 0, " "
scan_end:

        section .bss
ticks:          resd 1
limit:          resd 1
next_report:    resd 1
queue:          resw QUEUE_SIZE
queue_head:     resb 1
queue_tail:     resb 1
ended:          resb 1

%include "console.inc"
%include "enter32.inc"
%include "idt32.inc"
%include "pic.inc"
