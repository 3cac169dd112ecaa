; A small operating system, to be watched: long mode, four processes in ring 3 each with its own
; address space, system calls by SYSCALL and by INT 80h, memory that appears when it is touched, a
; timer, a text screen, and a doorbell to the monitor.
%include "machine.inc"
%include "long.inc"
%include "multiboot.inc"
        default rel
        extern user_start, user_end     ; by kernel.ld
%define PIT_DIVISOR     119             ; ten ticks a millisecond
%define FIRST_FRAME     0x400000        ; where free physical memory begins
%define HEAP            0x40000000      ; every process has its heap here ...
%define STACK_TOP       0x7FFFF000      ; ... and its stack below here; pages come when touched
%define USER_LIMIT      0x80000000
%define PTE_NX          (1 << 63)
%define SCREEN          0xB8000
%define SCREEN_WIDTH    80
%define SCREEN_BYTES    (80 * 25 * 2)
%define TEXT_COLOUR     0x07
%define TIMER_VECTOR    0x20
%define SYSCALL_VECTOR  0x80
%define FLAG_IF         (1 << 9)
%define FLAGS_MASKED    0x40700         ; SYSCALL clears AC, DF, IF and TF
%define EXCEPTIONS      20

%define SYS_WRITE       0               ; (address, bytes)
%define SYS_YIELD       1
%define SYS_EXIT        2               ; (status)
%define SYS_COUNT       3

struc process
.name:  resq 1
.entry: resq 1
.root:  resq 1                          ; CR3
.rsp:   resq 1                          ; kernel stack pointer while it does not run
.alive: resd 1
.pages: resd 1                          ; demand pages mapped so far
endstruc
%define PROCESSES       4
%define KERNEL_STACK    4096

; What SYSCALL finds through GS: it brings no stack of its own.
struc core
.kernel_rsp: resq 1
.user_rsp:   resq 1
endstruc

; log "text", 10: the kernel's own lines, by hypercall where there is a monitor to ask.
%macro log 1+
        [section .rodata]
%%text: db %1
%%end:
        __?SECT?__
        push rsi
        push rcx
        lea rsi, [%%text]
        mov ecx, %%end - %%text
        call log_write
        pop rcx
        pop rsi
%endmacro

; ---------------------------------------------------------------------------------------------------
; Paging. All address spaces share the low gigabyte: the first 2 MiB by 4 KiB pages, of which only the
; programs' belong to ring 3; then 14 MiB by large pages.
        section .bss
        alignb 4096
kernel_root:      resb 4096
kernel_pdpt:      resb 4096
kernel_directory: resb 4096
low_table:        resb 4096

        section .text
        width 32
routine build_page_tables               ; -> EAX = root
        mov dword [kernel_root], kernel_pdpt + (PTE_P | PTE_W | PTE_U)
        mov dword [kernel_pdpt], kernel_directory + (PTE_P | PTE_W | PTE_U)
        mov dword [kernel_directory], low_table + (PTE_P | PTE_W | PTE_U)
        mov eax, 0x200000 | (PTE_P | PTE_W | PTE_PS)
        mov edi, kernel_directory + 8
.large: mov [edi], eax
        add edi, 8
        add eax, 0x200000
        cmp eax, 0x1000000
        jb .large
        xor eax, eax
        mov edi, low_table
.small: mov edx, PTE_P | PTE_W
        cmp eax, user_start
        jb .put
        cmp eax, user_end
        jae .put
        mov edx, PTE_P | PTE_U
.put:   or edx, eax
        mov [edi], edx
        add edi, 8
        add eax, 4096
        cmp eax, 0x200000
        jb .small
        mov eax, kernel_root
        ret
endroutine

        width 64
; The next free page of physical memory, cleared. -> RAX
routine allocate_frame
        push rdi
        push rcx
        mov rdi, [next_frame]
        add qword [next_frame], 4096
        push rdi
        xor eax, eax
        mov ecx, 512
        rep stosq
        pop rax
        pop rcx
        pop rdi
        ret
endroutine

; RSI = a table, RCX = an index into it -> RSI = the table below, made if it was not there.
routine table_below
        push rax
        mov rax, [rsi + rcx * 8]
        test al, PTE_P
        jnz .there
        call allocate_frame
        or rax, PTE_P | PTE_W | PTE_U
        mov [rsi + rcx * 8], rax
.there: and rax, ~0xFFF
        mov rsi, rax
        pop rax
        ret
endroutine

; RDI = linear address: a fresh page for it in the running address space. -> RAX = its frame
routine map_page
        push rcx
        push rsi
        mov rsi, cr3
        mov rcx, rdi
        shr rcx, 39
        and ecx, 511
        call table_below
        mov rcx, rdi
        shr rcx, 30
        and ecx, 511
        call table_below
        mov rcx, rdi
        shr rcx, 21
        and ecx, 511
        call table_below
        mov rcx, rdi
        shr rcx, 12
        and ecx, 511
        call allocate_frame
        push rax
        push rdx
        mov rdx, PTE_NX | PTE_P | PTE_W | PTE_U
        or rax, rdx
        mov [rsi + rcx * 8], rax
        pop rdx
        pop rax
        pop rsi
        pop rcx
        ret
endroutine

; ---------------------------------------------------------------------------------------------------
; The kernel's own course.
routine main
        call screen_clear
        call probe_doorbell
        log "Ringside's long-mode kernel.", 10
        call report_cpuid
        call set_up_interrupts
        call set_up_system_calls
        call create_processes
        log "Four processes, each with its own page tables; heap at 40000000h in all of them.", 10
        call schedule
        log "Nobody is left to run. Asleep for 20 ticks.", 10
        mov edi, 20
        call sleep
        call report
        log "Good night.", 10
        mov al, 0xFF
        out PIC1 + 1, al
        cli
        ret
endroutine

routine report_cpuid
        push rbx
        log "CPUID:"
        mov eax, 0x80000001
        cpuid
        mov ebx, edx
        bt ebx, 29
        jnc .nx
        log " long-mode"
.nx:    bt ebx, 20
        jnc .syscall
        log " nx"
.syscall:
        bt ebx, 11
        jnc .sse2
        log " syscall"
.sse2:  mov eax, 1
        cpuid
        bt edx, 26
        jnc .done
        log " sse2"
.done:  log 10
        pop rbx
        ret
endroutine

routine report
        log "SYSCALL "
        mov eax, [syscall_count]
        call log_number
        log ", INT 80h "
        mov eax, [int80_count]
        call log_number
        log ", pages on demand "
        mov eax, [demand_count]
        call log_number
        log ", the timer interrupted ring 3: "
        cmp dword [user_ticks], 0
        je .no
        log "yes.", 10
        ret
.no:    log "no.", 10
        ret
endroutine

; ---------------------------------------------------------------------------------------------------
; Interrupts and exceptions.
routine set_up_interrupts
        call remap_pics
        mov ecx, GATE_INTERRUPT
%assign vector 0
%rep EXCEPTIONS
  %if vector == 8
        mov ch, 1                       ; #DF on a stack of its own
  %else
        mov ch, 0
  %endif
        mov eax, vector
        lea rdx, [stub_%[vector]]
        call set_gate
  %assign vector vector + 1
%endrep
        mov ch, 0
        mov eax, 14
        lea rdx, [page_fault]
        call set_gate
        mov eax, TIMER_VECTOR
        lea rdx, [timer_interrupt]
        call set_gate
        mov cl, GATE_USER
        mov eax, SYSCALL_VECTOR
        lea rdx, [int80_entry]
        call set_gate
        mov al, 0x34                    ; channel 0, rate generator
        out PIT + 3, al
        mov al, PIT_DIVISOR & 0xFF
        out PIT, al
        mov al, PIT_DIVISOR >> 8
        out PIT, al
        mov al, ~1
        out PIC1 + 1, al
        log "IDT, TSS, PIC and PIT are set.", 10
        ret
endroutine

%assign vector 0
%rep EXCEPTIONS
stub_%[vector]:
  %if vector != 8 && (vector < 10 || vector > 14) && vector != 17
        push 0                          ; where the processor pushes no error code
  %endif
        push vector
        jmp exception
  %assign vector vector + 1
%endrep

; An exception nobody can mend ends the process; in the kernel it ends everything.
routine exception
        push_all
        cld
        test byte [rsp + frame.cs], 3
        jz .kernel
        mov rdi, [rsp + frame.vector]
        mov rsi, [rsp + frame.error]
        jmp kill_process
.kernel:
        log "The kernel itself took exception "
        mov eax, [rsp + frame.vector]
        call log_number
        log 10
        jmp shutdown
endroutine

; #PF: a page of the heap or the stack that is not there yet is made, and the instruction starts again.
routine page_fault
        push 14
        push_all
        cld
        mov rdi, cr2
        test byte [rsp + frame.error], 1
        jnz .illegal                    ; the page was there: not allowed
        cmp rdi, HEAP
        jb .illegal
        mov eax, USER_LIMIT
        cmp rdi, rax
        jae .illegal
        call map_page
        inc dword [demand_count]
        mov rbx, [current]
        inc dword [rbx + process.pages]
        cmp dword [rbx + process.pages], 1
        jne .again
        call report_demand_page
.again: pop_all
        add rsp, 16
        iretq
.illegal:
        test byte [rsp + frame.cs], 3
        jz exception.kernel
        mov edi, 14
        mov rsi, [rsp + frame.error]
        jmp kill_process
endroutine

; RAX = frame, RDI = linear address, RBX = process, the error code in the interrupt frame above.
routine report_demand_page
        push rax
        mov rsi, [rbx + process.name]
        call log_text
        log ": #PF error code "
        mov eax, [rsp + 16 + frame.error]
        mov cl, 4
        call log_hex
        log " at "
        mov rax, rdi
        mov cl, 8
        call log_hex
        log ", now on frame "
        mov rax, [rsp]
        call log_hex
        log 10
        pop rax
        ret
endroutine

routine timer_interrupt
        push rax
        push rdx
        inc dword [ticks]
        test byte [rsp + 16 + 8], 3     ; CS of the interrupted code
        jz .spin
        inc dword [user_ticks]
.spin:  mov eax, [ticks]                ; a little wheel in the corner of the screen
        and eax, 3
        lea rdx, [wheel]
        mov al, [rdx + rax]
        mov [abs SCREEN + (SCREEN_WIDTH - 1) * 2], al
        mov al, 0x20
        out PIC1, al
        pop rdx
        pop rax
        iretq
endroutine

; EDI = ticks.
routine sleep
        add edi, [ticks]
.wait:  cli
        mov eax, [ticks]
        sub eax, edi
        jns .done
        sti
        hlt
        jmp .wait
.done:  sti
        ret
endroutine

; ---------------------------------------------------------------------------------------------------
; System calls: number in RAX, arguments in RDI and RSI, result in RAX.
routine set_up_system_calls
        mov ecx, MSR_STAR
        xor eax, eax
        mov edx, KERNEL_DS << 16 | KERNEL_CS
        wrmsr
        mov ecx, MSR_LSTAR
        lea rax, [syscall_entry]
        xor edx, edx
        wrmsr
        mov ecx, MSR_SFMASK
        mov eax, FLAGS_MASKED
        wrmsr
        mov ecx, 0xC0000102             ; IA32_KERNEL_GS_BASE
        lea rax, [this_core]
        xor edx, edx
        wrmsr
        ret
endroutine

; SYSCALL: RIP is in RCX, RFLAGS in R11, and RSP is still the user's.
routine syscall_entry
        swapgs
        mov [gs:core.user_rsp], rsp
        mov rsp, [gs:core.kernel_rsp]
        push qword [gs:core.user_rsp]
        swapgs
        push rcx
        push r11
        inc dword [syscall_count]
        call system_call
        pop r11
        pop rcx
        pop rsp
        o64 sysret
endroutine

routine int80_entry
        inc dword [int80_count]
        call system_call
        iretq
endroutine

routine system_call
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push rbp
        cmp rax, SYS_COUNT
        jae .unknown
        lea rbx, [system_calls]
        call [rbx + rax * 8]
.back:  pop rbp
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        ret
.unknown:
        mov rax, -38
        jmp .back
endroutine

routine sys_write                       ; RDI = address, RSI = bytes -> RAX
        cmp rsi, 4096
        ja .refused
        lea rax, [user_start]
        cmp rdi, rax
        jb .refused
        lea rdx, [rdi + rsi]
        lea rax, [user_end]
        cmp rdx, rax
        jbe .allowed                    ; in a program's constants
        cmp rdi, HEAP
        jb .refused
        mov eax, USER_LIMIT
        cmp rdx, rax
        ja .refused
.allowed:
        push rsi
        mov rcx, rsi
        mov rsi, rdi
        jrcxz .done
.next:  lodsb
        call putc
        call screen_putc
        loop .next
.done:  pop rax
        ret
.refused:
        mov rax, -14
        ret
endroutine

routine sys_yield
        call leave_process
        xor eax, eax
        ret
endroutine

routine sys_exit                        ; EDI = status
        mov rbx, [current]
        mov rsi, [rbx + process.name]
        call log_text
        log " exits with status "
        mov eax, edi
        call log_number
        log 10
        mov dword [rbx + process.alive], 0
        jmp leave_process
endroutine

; ---------------------------------------------------------------------------------------------------
; Processes. The scheduler is the kernel's first stack; each process has a stack in the kernel too.
routine create_processes
        lea rbx, [processes]
        lea rdx, [process_stacks]
.next:  call allocate_frame
        mov [rbx + process.root], rax
        mov rsi, rax
        xor ecx, ecx
        call table_below                ; its own PDPT, the low gigabyte shared
        lea rax, [kernel_directory]
        or rax, PTE_P | PTE_W | PTE_U
        mov [rsi], rax
        add rdx, KERNEL_STACK
        lea rax, [begin_process]
        mov [rdx - 64], rax             ; where switch_stack's RET goes
        lea rax, [rdx - 64 - 6 * 8]
        mov [rbx + process.rsp], rax
        mov dword [rbx + process.alive], 1
        add rbx, process_size
        lea rax, [processes_end]
        cmp rbx, rax
        jb .next
        ret
endroutine

; Round and round until all have ended.
routine schedule
.round: xor r12d, r12d                  ; how many ran
        xor r13d, r13d
        lea rbx, [processes]
.next:  cmp dword [rbx + process.alive], 0
        je .skip
        inc r12d
        mov rdi, rbx
        call enter_process
.skip:  add rbx, process_size
        inc r13d
        cmp r13d, PROCESSES
        jb .next
        call doorbell_yield
        test r12d, r12d
        jnz .round
        ret
endroutine

routine enter_process                   ; RDI = process; returns when it leaves
        mov [current], rdi
        mov rax, [rdi + process.root]
        mov cr3, rax
        mov rax, rdi                    ; its kernel stack's top, by its index
        lea rcx, [processes]
        sub rax, rcx
        xor edx, edx
        mov ecx, process_size
        div ecx
        inc eax
        imul eax, eax, KERNEL_STACK
        lea rcx, [process_stacks]
        add rax, rcx
        mov [tss_rsp0], rax
        mov [this_core + core.kernel_rsp], rax
        mov rsi, [rdi + process.rsp]
        lea rdi, [scheduler_rsp]
        jmp switch_stack
endroutine

routine leave_process
        mov rdi, [current]
        add rdi, process.rsp
        mov rsi, [scheduler_rsp]
        jmp switch_stack
endroutine

; RDI = where to keep this stack's pointer, RSI = the other stack's.
routine switch_stack
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov [rdi], rsp
        mov rsp, rsi
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret
endroutine

; The first thing on a process's kernel stack: down to ring 3 by a made-up interrupt return.
routine begin_process
        mov rbx, [current]
        push USER_DS
        mov eax, STACK_TOP
        push rax
        push FLAG_IF | 2
        push USER_CS
        push qword [rbx + process.entry]
        xor eax, eax
        mov ebx, eax
        mov ecx, eax
        mov edx, eax
        mov esi, eax
        mov edi, eax
        iretq
endroutine

routine kill_process                    ; EDI = vector, ESI = error code
        mov rbx, [current]
        push rsi
        mov rsi, [rbx + process.name]
        call log_text
        log " is killed by exception "
        mov eax, edi
        call log_number
        log ", error code "
        pop rax
        mov cl, 4
        call log_hex
        log 10
        mov dword [rbx + process.alive], 0
        jmp leave_process
endroutine

; ---------------------------------------------------------------------------------------------------
; Text: the log goes through the doorbell, else to COM1; all of it is also on the screen.
routine probe_doorbell
        push rdx
        mov dx, DOORBELL
        mov eax, HC_PROBE
        out dx, eax
        cmp eax, 1
        sete [has_doorbell]
        pop rdx
        ret
endroutine

routine doorbell_yield
        cmp byte [has_doorbell], 0
        je .done
        push rdx
        mov dx, DOORBELL
        mov eax, HC_YIELD
        out dx, eax
        pop rdx
.done:  ret
endroutine

routine log_write                       ; RSI = text, ECX = bytes
        push rax
        push rbx
        push rcx
        push rdx
        push rsi
        cmp byte [has_doorbell], 0
        je .by_port
        mov eax, HC_WRITE
        mov rbx, rsi
        mov dx, DOORBELL
        out dx, eax
        jmp .screen
.by_port:
        push rcx
        push rsi
.byte:  lodsb
        call putc
        loop .byte
        pop rsi
        pop rcx
.screen:
        lodsb
        call screen_putc
        loop .screen
        pop rsi
        pop rdx
        pop rcx
        pop rbx
        pop rax
        ret
endroutine

routine log_text                        ; RSI = text, ends with a zero
        push rcx
        xor ecx, ecx
.length:
        cmp byte [rsi + rcx], 0
        je .found
        inc ecx
        jmp .length
.found: call log_write
        pop rcx
        ret
endroutine

routine log_number                      ; EAX = unsigned value
        push rax
        push rcx
        push rdx
        push rsi
        push rdi
        lea rsi, [digits + 16]
        xor ecx, ecx
        mov edi, 10
.next:  xor edx, edx
        div edi
        add dl, '0'
        dec rsi
        mov [rsi], dl
        inc ecx
        test eax, eax
        jnz .next
        call log_write
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rax
        ret
endroutine

routine log_hex                         ; RAX = value, CL = digits
        push rax
        push rcx
        push rdx
        push rsi
        movzx ecx, cl
        mov edx, ecx
        lea rsi, [digits + 16]
.next:  push rax
        and al, 15
        cmp al, 10
        jb .digit
        add al, 'a' - '0' - 10
.digit: add al, '0'
        dec rsi
        mov [rsi], al
        pop rax
        shr rax, 4
        dec edx
        jnz .next
        call log_write
        pop rsi
        pop rdx
        pop rcx
        pop rax
        ret
endroutine

routine screen_clear
        mov edi, SCREEN
        mov ecx, SCREEN_BYTES / 2
        mov eax, TEXT_COLOUR << 8 | ' '
        rep stosw
        ret
endroutine

routine screen_putc                     ; AL = character
        push rax
        push rdi
        mov edi, [screen_position]
        cmp al, 10
        je .line
        mov ah, TEXT_COLOUR
        mov [SCREEN + edi * 2], ax
        inc edi
        cmp edi, SCREEN_BYTES / 2
        jb .done
        call screen_scroll
        jmp .done
.line:  mov eax, edi
        push rcx
        push rdx
        xor edx, edx
        mov ecx, SCREEN_WIDTH
        div ecx
        sub edi, edx
        add edi, ecx
        pop rdx
        pop rcx
        cmp edi, SCREEN_BYTES / 2
        jb .done
        call screen_scroll
.done:  mov [screen_position], edi
        pop rdi
        pop rax
        ret
endroutine

routine screen_scroll                   ; EDI = position, moved up a line
        push rax
        push rcx
        push rsi
        push rdi
        mov edi, SCREEN
        mov esi, SCREEN + SCREEN_WIDTH * 2
        mov ecx, (SCREEN_BYTES - SCREEN_WIDTH * 2) / 8
        rep movsq
        mov eax, TEXT_COLOUR << 8 | ' '
        mov ecx, SCREEN_WIDTH
        rep stosw
        pop rdi
        sub edi, SCREEN_WIDTH
        pop rsi
        pop rcx
        pop rax
        ret
endroutine

%include "console.inc"
%include "enter64.inc"
%include "pic.inc"
%include "long-kernel/programs.inc"

        section .rodata
wheel:  db "|/-\"
        align 8
system_calls:
        dq sys_write, sys_yield, sys_exit
name_alpha: db "alpha", 0
name_beta:  db "beta", 0
name_gamma: db "gamma", 0
name_delta: db "delta", 0

        section .data
        align 8
processes:
        dq name_alpha, alpha, 0, 0, 0
        dq name_beta, beta, 0, 0, 0
        dq name_gamma, gamma, 0, 0, 0
        dq name_delta, delta, 0, 0, 0
processes_end:
next_frame:     dq FIRST_FRAME

        section .bss
        alignb 16
process_stacks: resb PROCESSES * KERNEL_STACK
this_core:       resb core_size
scheduler_rsp:  resq 1
current:        resq 1
digits:         resb 16
ticks:          resd 1
user_ticks:     resd 1
syscall_count:  resd 1
int80_count:    resd 1
demand_count:   resd 1
screen_position: resd 1
has_doorbell:   resb 1
