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

        section .text
        width 64
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

%include "console.inc"
%include "enter64.inc"
%include "pic.inc"
%include "long-kernel/paging.inc"
%include "long-kernel/interrupts.inc"
%include "long-kernel/system-calls.inc"
%include "long-kernel/processes.inc"
%include "long-kernel/text.inc"
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
