; A boot sector: real mode, text by BIOS teletype and by the serial port, a look at the BIOS's own
; answers, and the way out by the exit port.
        cpu 8086
        org 0x7C00
        bits 16
%define COM1            0x3F8
%define EXIT            0xF4

start:  jmp 0:begin                     ; some BIOSes enter at 07C0:0000
begin:  cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7C00                  ; the stack grows down from the boot sector
        sti
        cld

        mov si, by_bios
        call teletype
        mov si, by_port
        call serial

        int 0x12                        ; AX = KiB of conventional memory
        mov di, number
        call decimal
        mov si, memory
        call serial

        mov cx, 5                       ; five lines, to watch a loop
again:  mov ax, 6
        sub ax, cx
        mov di, square.factor1
        call digit
        mov di, square.factor2
        call digit
        mul al
        mov di, square.result
        call decimal
        mov si, square
        call serial
        loop again

        mov si, goodbye
        call serial
        xor al, al
        out EXIT, al                    ; status 0*2+1
stay:   hlt
        jmp stay

; SI = text: character by character to the BIOS.
teletype:
        lodsb
        test al, al
        jz .done
        mov ah, 0x0E
        mov bx, 7
        int 0x10
        jmp teletype
.done:  ret

; SI = text: the same straight to the UART, waiting for room each time.
serial: lodsb
        test al, al
        jz .done
        mov ah, al
        mov dx, COM1 + 5
.wait:  in al, dx
        test al, 0x20
        jz .wait
        mov al, ah
        mov dx, COM1
        out dx, al
        jmp serial
.done:  ret

; AL = 0 to 9, DI = where.
digit:  push ax
        add al, '0'
        mov [di], al
        pop ax
        ret

; AX = number, DI = three places, blanks in front.
decimal:
        push cx
        mov cx, 3
        add di, 2
        mov bx, 10
.next:  xor dx, dx
        div bx
        add dl, '0'
        mov [di], dl
        dec di
        dec cx
        jz .done
        test ax, ax
        jnz .next
.blank: mov byte [di], ' '
        dec di
        loop .blank
.done:  pop cx
        ret

by_bios:        db "Hello from real mode, by INT 10h.", 13, 10, 0
by_port:        db "Hello from real mode, by port 3F8h.", 13, 10, 0
memory:         db "INT 12h says "
number:         db "    KiB of conventional memory.", 13, 10, 0
square:
.factor1:       db "0 * "
.factor2:       db "0 = "
.result:        db "   ", 13, 10, 0
goodbye:        db "Leaving by port F4h.", 13, 10, 0

        times 510 - ($ - $$) db 0
        dw 0xAA55
