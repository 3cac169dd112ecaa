; A floppy image: the boot sector reads the rest of itself by INT 13h, switches to 32-bit protected
; mode, and then commits one fault after the other. Each comes back through the IDT; the handler says
; what it was and lets the program go on.
%include "machine.inc"
%define CODE_SEL        0x08
%define DATA_SEL        0x10
%define ABSENT_SEL      0x18            ; a data segment whose P bit is clear
%define SMALL_SEL       0x20            ; a data segment of 16 bytes
%define SECTORS         7               ; what follows the boot sector
%define NAME_SIZE       26
%define CR0_TS          (1 << 3)
%define FLAG_TF         (1 << 8)

        org 0x7C00
        section .text
        bits 16
boot:   jmp 0:.begin
.begin: cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7C00
        sti
        mov ax, 0x0200 + SECTORS        ; read; DL still holds the drive
        mov bx, 0x7E00
        mov cx, 0x0002                  ; cylinder 0, sector 2
        mov dh, 0
        int 0x13
        jnc .loaded
        hlt
.loaded:
        cli
        in al, 0x92                     ; address line 20
        or al, 2
        and al, 0xFE
        out 0x92, al
        lgdt [gdt_pointer]
        mov eax, cr0
        or eax, CR0_PE
        mov cr0, eax
        jmp CODE_SEL:protected

        align 8
gdt:    dq 0
        dq 0x00CF9A000000FFFF           ; 08h: code, 4 GiB
        dq 0x00CF92000000FFFF           ; 10h: data, 4 GiB
        dq 0x00CF12000000FFFF           ; 18h: data, not present
        dq 0x004092000000000F           ; 20h: data, 16 bytes
.end:
gdt_pointer:
        dw gdt.end - gdt - 1
        dd gdt
        times 510 - ($ - $$) db 0
        dw 0xAA55

        width 32
protected:
        mov eax, DATA_SEL
        mov ds, eax
        mov es, eax
        mov fs, eax
        mov gs, eax
        mov ss, eax
        mov esp, 0x7C00
        call serial_init
        call set_up_idt
        print "In protected mode. Now for some trouble:", 10
        mov esi, troubles
.next:  lodsd
        test eax, eax
        jz .done
        push esi
        call eax
        pop esi
        jmp .next
.done:  mov eax, [survived]
        call putdec
        print " faults and traps, and still alive.", 10
        jmp shutdown

; The troubles. The handler of each goes on at `give_up`; where no fault comes, the count is short.
divide: xor edx, edx
        xor ecx, ecx
        div ecx
        ret
single_step:
        pushfd
        or dword [esp], FLAG_TF
        popfd
        nop
        ret
breakpoint:
        int3
        ret
overflow:
        mov al, 0x7F
        inc al
        into
        ret
bound_range:
        mov eax, 11
        bound eax, [limits]
        ret
invalid_opcode:
        ud2
no_device:
        mov eax, cr0
        or eax, CR0_TS
        mov cr0, eax
        fnop
        ret
absent_segment:
        mov eax, ABSENT_SEL
        mov fs, eax
        ret
stack_absent:
        mov eax, ABSENT_SEL
        mov ss, eax
        ret
beyond_limit:
        mov eax, SMALL_SEL
        mov gs, eax
        mov eax, [gs:13]                ; bytes 13 to 16 of a segment that ends at 15
        ret
beyond_gdt:
        mov eax, 0x1230
        mov gs, eax
give_up:
        ret

; All exceptions meet here with vector and error code on the stack.
struc frame
.edi:   resd 8                          ; PUSHAD
.vector:resd 1
.error: resd 1
.eip:   resd 1
.cs:    resd 1
.flags: resd 1
endstruc

fault:  pushad
        cld
        clts
        mov eax, [esp + frame.vector]
        imul esi, eax, NAME_SIZE
        add esi, names
        call puts
        print "  vector "
        mov cl, 2
        call puthex
        print "  error code "
        mov eax, [esp + frame.error]
        mov cl, 4
        call puthex
        print 10
        inc dword [survived]
        mov dword [esp + frame.eip], give_up
        and dword [esp + frame.flags], ~FLAG_TF
        popad
        add esp, 8                      ; vector and error code
        iretd

; Stubs: where the processor pushes no error code, push a zero.
%assign vector 0
%rep 14
stub_%[vector]:
  %if vector != 8 && (vector < 10 || vector > 13)
        push 0
  %endif
        push vector
        jmp fault
  %assign vector vector + 1
%endrep

set_up_idt:
%assign vector 0
%rep 14
        mov eax, vector
        mov edx, stub_%[vector]
        mov cl, GATE_INTERRUPT
        call set_gate
  %assign vector vector + 1
%endrep
        lidt [idt_pointer]
        ret

%include "console.inc"
%include "idt32.inc"

        section .data
        align 4
troubles:
        dd divide, single_step, breakpoint, overflow, bound_range, invalid_opcode, no_device
        dd absent_segment, stack_absent, beyond_limit, beyond_gdt, 0
limits: dd 0, 10
survived:
        dd 0
%macro name 1
%%text: db %1
        times NAME_SIZE - 1 - ($ - %%text) db ' '
        db 0
%endmacro
names:  name "#DE divide error"
        name "#DB single step"
        name "NMI"
        name "#BP breakpoint"
        name "#OF overflow"
        name "#BR bound range"
        name "#UD invalid opcode"
        name "#NM no x87 just now"
        name "#DF double fault"
        name "coprocessor overrun"
        name "#TS invalid TSS"
        name "#NP segment not present"
        name "#SS stack segment"
        name "#GP general protection"
