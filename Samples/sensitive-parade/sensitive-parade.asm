; Every instruction a monitor must care about, run in ring 0 and again in ring 3. Popek and Goldberg:
; a machine can be virtualized by trap and emulate if all sensitive instructions are privileged, that
; is, trap in user mode. The ring 3 column shows which of x86's do and which quietly run.
%include "machine.inc"
%include "long.inc"
%include "multiboot.inc"
        default rel
%define RETURN_VECTOR   0x81            ; INT 81h: the way back from ring 3
%define OPEN_VECTOR     0x82            ; a gate ring 3 may use
%define CLOSED_VECTOR   0x83            ; and one it may not
%define PIT_DIVISOR     1193
%define FLAG_IF         (1 << 9)
%define FLAG_IOPL       (3 << 12)
%define CR4_TSD         (1 << 2)
%define EXCEPTIONS      15
%define RAN             0xFF            ; a result that is no vector
%define NAME_WIDTH      30
%define RESULT_WIDTH    16

struc act
.name:  resq 1
.code:  resq 1
.digits: resq 1                         ; of the value it leaves in RAX, 0 for none
endstruc

        section .bss
        alignb 4096
root:           resb 4096
pdpt:           resb 4096
directory:      resb 4096
user_stack:     resb 4096
user_stack_top:
saved_rsp:      resq 1
value:          resq 1
error_code:     resq 1
scratch:        resb 16
result:         resb 1
trapped_count:  resd 1
ran_count:      resd 1

        section .text
        width 32
routine build_page_tables               ; 1 GiB onto itself, all of it for ring 3 too -> EAX = root
        mov dword [root], pdpt + (PTE_P | PTE_W | PTE_U)
        mov dword [pdpt], directory + (PTE_P | PTE_W | PTE_U)
        mov eax, PTE_P | PTE_W | PTE_U | PTE_PS
        mov edi, directory
        mov ecx, 512
.next:  mov [edi], eax
        add eax, 0x200000
        add edi, 8
        loop .next
        mov eax, root
        ret
endroutine

        width 64
routine main
        call set_up
        print "instruction                   ring 0          ring 3", 10
        lea rbx, [acts]
        call parade
        mov rax, cr4
        or eax, CR4_TSD
        mov cr4, rax
        lea rbx, [acts_tsd]
        call parade
        mov rax, cr4
        and eax, ~CR4_TSD
        mov cr4, rax
        print 10, "In ring 3 "
        mov eax, [trapped_count]
        call putdec
        print " trapped: a monitor can emulate them. "
        mov eax, [ran_count]
        call putdec
        print " ran (!): it never hears of them.", 10
        print "POPF is the classic: in ring 0 it turned interrupts off, in ring 3 it was ignored.", 10
        ret
endroutine

routine set_up
        call remap_pics
        mov al, 0x34
        out PIT + 3, al
        mov al, PIT_DIVISOR & 0xFF
        out PIT, al
        mov al, PIT_DIVISOR >> 8
        out PIT, al
        mov ecx, GATE_INTERRUPT
%assign vector 0
%rep EXCEPTIONS
        mov eax, vector
        lea rdx, [stub_%[vector]]
        call set_gate
  %assign vector vector + 1
%endrep
        mov eax, 0x20
        lea rdx, [timer_interrupt]
        call set_gate
        mov eax, CLOSED_VECTOR
        lea rdx, [plain_interrupt]
        call set_gate
        mov cl, GATE_USER
        mov eax, OPEN_VECTOR
        call set_gate
        mov eax, RETURN_VECTOR
        lea rdx, [come_back]
        call set_gate
        mov ecx, MSR_STAR
        xor eax, eax
        mov edx, KERNEL_DS << 16 | KERNEL_CS
        wrmsr
        mov ecx, MSR_LSTAR
        lea rax, [syscall_entry]
        xor edx, edx
        wrmsr
        mov ecx, MSR_SFMASK
        mov eax, FLAG_IF
        wrmsr
        ret
endroutine

; RBX = a list of acts, ends with a zero.
routine parade
.next:  mov rsi, [rbx + act.name]
        test rsi, rsi
        jz .done
        call puts
        call run_ring0
        call say_result
        mov ecx, RESULT_WIDTH
        sub ecx, eax
.blank: mov al, ' '
        call putc
        loop .blank
        call run_ring3
        call say_result
        cmp byte [result], RAN
        je .ran
        inc dword [trapped_count]
        print 10
        jmp .step
.ran:   inc dword [ran_count]
        print " !", 10
.step:  add rbx, act_size
        jmp .next
.done:  ret
endroutine

; Both leave result, value and error_code. Interrupts are on while the act runs; nothing is unmasked.
routine run_ring0
        push rbx
        mov byte [result], RAN
        mov [saved_rsp], rsp
        sti
        call [rbx + act.code]
        mov [value], rax
        jmp tidy_up
endroutine

routine run_ring3
        push rbx
        mov byte [result], RAN
        mov [saved_rsp], rsp
        mov [tss_rsp0], rsp             ; what comes from ring 3 goes on below here
        push USER_DS
        lea rax, [user_stack_top]
        push rax
        push FLAG_IF | 2
        push USER_CS
        lea rax, [user_run]
        push rax
        mov rbx, [rbx + act.code]
        iretq
endroutine

routine user_run                        ; in ring 3
        call rbx
        int RETURN_VECTOR
endroutine

; INT 81h: RAX = the act's value.
routine come_back
        mov [value], rax
        mov rsp, [saved_rsp]
        jmp tidy_up
endroutine

; SYSCALL ends here: the value is the CS one finds oneself in.
routine syscall_entry
        mov eax, cs
        jmp come_back
endroutine

; Puts right what an act may have changed, and returns to the parade.
routine tidy_up
        cli
        cld
        lgdt [gdt_pointer]
        lidt [idt_pointer]
        xor eax, eax
        mov fs, eax
        mov gs, eax
        mov al, 0xFF
        out PIC1 + 1, al
        pop rbx
        ret
endroutine

; Prints what became of the act RBX. -> EAX = characters printed
routine say_result
        cmp byte [result], RAN
        jne .trapped
        print "ran"
        mov rcx, [rbx + act.digits]
        jrcxz .no_value
        print " "
        mov rax, [value]
        call puthex
        lea eax, [rcx + 4]
        ret
.no_value:
        mov eax, 3
        ret
.trapped:
        movzx eax, byte [result]
        lea rsi, [mnemonics]
        lea rsi, [rsi + rax * 4]
        call puts
        print " "
        mov rax, [error_code]
        mov cl, 4
        call puthex
        mov eax, 8
        ret
endroutine

routine fault                           ; vector and error code are on the stack
        pop qword [scratch]
        mov al, [scratch]
        mov [result], al
        pop qword [error_code]
        mov rsp, [saved_rsp]
        jmp tidy_up
endroutine

%assign vector 0
%rep EXCEPTIONS
stub_%[vector]:
  %if vector != 8 && (vector < 10 || vector > 14)
        push 0
  %endif
        push vector
        jmp fault
  %assign vector vector + 1
%endrep

routine timer_interrupt
        push rax
        mov al, 0x20
        out PIC1, al
        pop rax
        iretq
endroutine

routine plain_interrupt
        iretq
endroutine

%include "console.inc"
%include "enter64.inc"
%include "pic.inc"
%include "sensitive-parade/acts.inc"

        section .rodata
mnemonics:                              ; four bytes each
        db "#DE", 0, "#DB", 0, "NMI", 0, "#BP", 0, "#OF", 0, "#BR", 0, "#UD", 0, "#NM", 0
        db "#DF", 0, "mf ", 0, "#TS", 0, "#NP", 0, "#SS", 0, "#GP", 0, "#PF", 0
