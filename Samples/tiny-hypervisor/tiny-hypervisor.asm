; A hypervisor, one step after the other: asks the processor for VT-x, turns VMX operation on, fills a virtual-machine
; control structure (VMCS) with bitmaps and extended page tables, launches a small 64-bit guest, and answers its exits
; until the guest says that it is done. Read it from `main` downwards; vmx.inc has the manual's numbers, guest.inc the
; guest.
%include "machine.inc"
%include "long.inc"
%include "multiboot.inc"
        default rel
%include "tiny-hypervisor/vmx.inc"
%include "tiny-hypervisor/guest.inc"

; The guest's general registers while the hypervisor runs: a VM exit does not save them.
struc registers
.rax:   resq 1
.rcx:   resq 1
.rdx:   resq 1
.rbx:   resq 1
.rbp:   resq 1
.rsi:   resq 1
.rdi:   resq 1
.r8:    resq 8
endstruc

        section .bss
        alignb 4096
root:           resb 4096               ; the hypervisor's own page tables
pdpt:           resb 4096
directory:      resb 4096
vmxon_region:   resb 4096
vmcs_region:    resb 4096
io_bitmap_a:    resb 4096
io_bitmap_b:    resb 4096
msr_bitmap:     resb 4096
ept_root:       resb 4096
ept_pdpt:       resb 4096
ept_directory:  resb 4096
ept_table:      resb 4096
guest_memory:   resb GUEST_MEMORY       ; what the guest takes for physical memory from 0 on
guest:          resb registers_size
pointer:        resq 1                  ; memory operand of VMXON, VMCLEAR and VMPTRLD
revision:       resd 1
launched:       resd 1
exit_count:     resd 1
counts:         resd REASONS            ; exits by reason

        section .text
        width 32
routine build_page_tables               ; 1 GiB onto itself -> EAX = root
        mov dword [root], pdpt + (PTE_P | PTE_W)
        mov dword [pdpt], directory + (PTE_P | PTE_W)
        mov eax, PTE_P | PTE_W | PTE_PS
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
        call check_processor
        call turn_vmx_on
        call build_guest_memory
        call build_extended_page_tables
        call set_bitmaps
        call load_vmcs
        call set_controls
        call set_host_state
        call set_guest_state
        print "Launching the guest.", 10, 10
        call run_guest
        call report
        vmxoff
        print "VMX operation is off. Good night.", 10
        ret
endroutine

; --- Step 1: does the processor have VT-x, and did the firmware leave it on? -------------------------------------
routine check_processor
        mov eax, 1
        cpuid
        bt ecx, 5                       ; CPUID.1:ECX.VMX
        jc .has_vmx
        print "This processor has no VT-x.", 10
        jmp shutdown
.has_vmx:
        mov ecx, MSR_FEATURE_CONTROL
        rdmsr
        and eax, 5                      ; locked, and VMXON allowed outside SMX
        cmp eax, 5
        je .allowed
        print "The firmware has turned VT-x off.", 10
        jmp shutdown
.allowed:
        mov ecx, MSR_VMX_BASIC
        rdmsr
        mov [revision], eax             ; every VMCS begins with it
        print "VT-x: VMCS revision "
        mov cl, 8
        call puthex
        print ", regions of "
        mov eax, edx
        and eax, 0x1FFF
        call putdec
        print " bytes", 10
        mov ecx, MSR_VMX_EPT
        rdmsr
        bt eax, 6
        jc .has_ept
        print "No extended page tables of four levels.", 10
        jmp shutdown
.has_ept:
        print "EPT: four levels", 10
        ret
endroutine

; --- Step 2: VMX root operation ----------------------------------------------------------------------------------
routine turn_vmx_on
        mov rax, cr4
        or eax, CR4_VMXE
        mov cr4, rax
        mov eax, [revision]
        mov [vmxon_region], eax
        lea rax, [vmxon_region]
        mov [pointer], rax
        vmxon [pointer]                 ; CF or ZF tells of a failure, as after every VMX instruction
        jna .failed
        print "VMXON: this is root operation now.", 10
        ret
.failed:
        print "VMXON failed.", 10
        jmp shutdown
endroutine

; --- Step 3: memory for the guest --------------------------------------------------------------------------------
; Inside: the guest's own page tables (one 2 MiB page onto itself), its code, stack and IDT.
routine build_guest_memory
        lea rdi, [guest_memory]
        mov qword [rdi + GUEST_TABLES], GUEST_TABLES + 0x1000 + (PTE_P | PTE_W)
        mov qword [rdi + GUEST_TABLES + 0x1000], GUEST_TABLES + 0x2000 + (PTE_P | PTE_W)
        mov qword [rdi + GUEST_TABLES + 0x2000], PTE_P | PTE_W | PTE_PS
        lea rsi, [guest_image]
        lea rdi, [guest_memory + GUEST_CODE]
        mov ecx, guest_image_end - guest_image
        rep movsb
        ret
endroutine

; Outside: extended page tables say where guest-physical pages really are. The guest gets its first pages; the rest of
; its 2 MiB is not there, and nothing of the hypervisor is.
routine build_extended_page_tables
        lea rax, [ept_pdpt + EPT_RWX]
        mov [ept_root], rax
        lea rax, [ept_directory + EPT_RWX]
        mov [ept_pdpt], rax
        lea rax, [ept_table + EPT_RWX]
        mov [ept_directory], rax
        xor ecx, ecx
.next:  call map_guest_page
        inc ecx
        cmp ecx, GUEST_PAGES
        jb .next
        ret
endroutine

routine map_guest_page                  ; ECX = guest-physical page number
        push rax
        push rdx
        mov eax, ecx
        shl eax, 12
        lea rdx, [guest_memory]
        add rax, rdx
        or eax, EPT_RWX | EPT_WRITE_BACK
        lea rdx, [ept_table]
        mov [rdx + rcx * 8], rax
        pop rdx
        pop rax
        ret
endroutine

; --- Step 4: which ports and MSRs exit: one bit each -------------------------------------------------------------
routine set_bitmaps
        bts dword [io_bitmap_a + (CONSOLE_PORT / 32) * 4], CONSOLE_PORT & 31
        bts dword [io_bitmap_a + (INPUT_PORT / 32) * 4], INPUT_PORT & 31
        bts dword [msr_bitmap + (MSR_SYSENTER_CS / 32) * 4], MSR_SYSENTER_CS & 31
        ret
endroutine

; --- Step 5: a VMCS, clear and current ---------------------------------------------------------------------------
routine load_vmcs
        mov eax, [revision]
        mov [vmcs_region], eax
        lea rax, [vmcs_region]
        mov [pointer], rax
        vmclear [pointer]
        jna .failed
        vmptrld [pointer]
        jna .failed
        ret
.failed:
        print "The VMCS could not be loaded.", 10
        jmp shutdown
endroutine

routine write_field                     ; EAX = encoding, RDX = value
        vmwrite rax, rdx
        jna .failed
        ret
.failed:
        print "VMWRITE failed for field "
        mov cl, 4
        call puthex
        print 10
        jmp shutdown
endroutine

; --- Step 6: what exits ------------------------------------------------------------------------------------------
; A capability MSR has the bits that must be 1 in its lower half and those that may be 1 in its upper.
routine allowed                         ; ECX = capability MSR, EBX = wanted -> RDX = what may be written
        rdmsr
        or eax, ebx
        and eax, edx
        mov edx, eax
        ret
endroutine

%macro controls 3                       ; field, capability MSR, wanted bits
        mov ecx, %2
        mov ebx, %3
        call allowed
        mov eax, %1
        call write_field
%endmacro

routine set_controls
        controls PIN_CONTROLS, MSR_VMX_TRUE_PIN, 0
        controls PRIMARY_CONTROLS, MSR_VMX_TRUE_PRIMARY, PRIMARY_HLT | PRIMARY_IO_BITMAPS | PRIMARY_MSR_BITMAPS | PRIMARY_SECONDARY
        controls SECONDARY_CONTROLS, MSR_VMX_SECONDARY, SECONDARY_EPT
        controls EXIT_CONTROLS, MSR_VMX_TRUE_EXIT, EXIT_HOST_64 | EXIT_SAVE_EFER | EXIT_LOAD_EFER
        controls ENTRY_CONTROLS, MSR_VMX_TRUE_ENTRY, ENTRY_GUEST_64 | ENTRY_LOAD_EFER
        field EXCEPTION_BITMAP, 1 << 6  ; #UD
        lea rdx, [io_bitmap_a]
        field IO_BITMAP_A, rdx
        lea rdx, [io_bitmap_b]
        field IO_BITMAP_B, rdx
        lea rdx, [msr_bitmap]
        field MSR_BITMAP, rdx
        lea rdx, [ept_root + EPT_WALK_4 + 6]
        field EPT_POINTER, rdx
        field LINK_POINTER, -1          ; no shadow VMCS
        ret
endroutine

; --- Step 7: where exits go: all of this is loaded at every exit -------------------------------------------------
routine set_host_state
        mov rdx, cr0
        field HOST_CR0, rdx
        mov rdx, cr3
        field HOST_CR3, rdx
        mov rdx, cr4
        field HOST_CR4, rdx
        mov ecx, MSR_EFER
        rdmsr
        mov edx, eax
        field HOST_EFER, rdx
        field HOST_SELECTOR(0), KERNEL_DS
        field HOST_SELECTOR(1), KERNEL_CS
        field HOST_SELECTOR(2), KERNEL_DS
        field HOST_SELECTOR(3), KERNEL_DS
        field HOST_TR, TSS_SEL
        lea rdx, [tss]
        field HOST_TR_BASE, rdx
        lea rdx, [gdt]
        field HOST_GDTR_BASE, rdx
        lea rdx, [idt]
        field HOST_IDTR_BASE, rdx
        lea rdx, [exit_point]
        field HOST_RIP, rdx
        ret
endroutine

; --- Step 8: how the guest begins: 64-bit mode, ring 0, at its first instruction ---------------------------------
routine set_guest_state
        mov rdx, cr0                    ; VMX wants PE, NE and PG
        field GUEST_CR0, rdx
        mov rdx, cr4                    ; and VMXE
        field GUEST_CR4, rdx
        field GUEST_CR3, GUEST_TABLES
        field GUEST_EFER, EFER_LME | (1 << 10)
        xor ebx, ebx                    ; ES, CS, SS, DS, FS, GS
.segment:
        mov edx, KERNEL_DS
        mov ecx, ACCESS_DATA
        cmp ebx, SEGMENT_CS
        jne .data
        mov edx, KERNEL_CS
        mov ecx, ACCESS_CODE64
.data:  lea eax, [GUEST_SELECTOR(0) + rbx * 2]
        call write_field
        mov edx, ecx
        lea eax, [GUEST_ACCESS(0) + rbx * 2]
        call write_field
        mov edx, 0xFFFFFFFF
        lea eax, [GUEST_LIMIT(0) + rbx * 2]
        call write_field
        inc ebx
        cmp ebx, SEGMENT_LDTR
        jb .segment
        field GUEST_ACCESS(SEGMENT_LDTR), ACCESS_UNUSABLE
        field GUEST_ACCESS(SEGMENT_TR), ACCESS_TSS
        field GUEST_LIMIT(SEGMENT_TR), 0x67
        field GUEST_GDTR_BASE, IN_GUEST(guest_gdt)
        field GUEST_GDTR_LIMIT, 23
        field GUEST_IDTR_BASE, GUEST_IDT
        field GUEST_IDTR_LIMIT, 0xFFF
        field GUEST_DR7, 0x400
        field GUEST_RFLAGS, 2
        field GUEST_RSP, GUEST_STACK_TOP
        field GUEST_RIP, GUEST_CODE
        ret
endroutine

; --- Step 9: in and out ------------------------------------------------------------------------------------------
; The processor switches RIP, RSP, RFLAGS, control and segment registers by itself; the other registers are ours to
; switch. An entry that succeeds does not come back here: the next instruction is the guest's, and after its exit the
; one at `exit_point`.
%macro each_register 1
        %1 rcx, rcx
        %1 rdx, rdx
        %1 rbx, rbx
        %1 rbp, rbp
        %1 rsi, rsi
        %1 rdi, rdi
  %assign number 8
  %rep 8
        %1 r%[number], r8 + (number - 8) * 8
    %assign number number + 1
  %endrep
%endmacro
%macro load_register 2
        mov %1, [guest + registers.%2]
%endmacro
%macro save_register 2
        mov [guest + registers.%2], %1
%endmacro

routine run_guest
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        field HOST_RSP, rsp
endroutine                              ; and on into the guest

routine enter_guest
        cmp dword [launched], 0
        mov rax, [guest + registers.rax]
        each_register load_register
        jne .again
        vmlaunch
        jmp .failed
.again: vmresume
.failed:
        read rdx, INSTRUCTION_ERROR
        print "VM entry failed with error "
        mov eax, edx
        call putdec
        print 10
        jmp shutdown
endroutine

routine exit_point                      ; HOST_RIP
        mov [guest + registers.rax], rax
        each_register save_register
        mov dword [launched], 1
        call handle_exit
        test eax, eax
        jnz enter_guest
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret
endroutine

; --- Step 10: why did it exit? -----------------------------------------------------------------------------------
routine handle_exit                     ; -> EAX = 0: the guest is done
        inc dword [exit_count]
        read rbx, EXIT_REASON
        print "exit "
        mov eax, [exit_count]
        mov ecx, 2
        call putdec_wide
        print ": reason "
        mov eax, ebx
        call putdec
        cmp ebx, REASONS                ; with bit 31 it was the entry that failed
        jae .unknown
        print " ("
        lea rsi, [names]
        mov rsi, [rsi + rbx * 8]
        call puts
        print "), qualification "
        read rax, EXIT_QUALIFICATION
        mov cl, 8
        call puthex
        print ", RIP "
        read rax, GUEST_RIP
        mov cl, 4
        call puthex
        print 10, "         "
        lea rax, [counts]
        inc dword [rax + rbx * 4]
        lea rax, [handlers]
        mov rax, [rax + rbx * 8]
        test rax, rax
        jz .unknown
        jmp rax
.unknown:
        print " which this hypervisor does not know", 10
        xor eax, eax
        ret
endroutine

; The instruction is done for the guest: RIP moves behind it. What STI held back for one instruction it holds no more.
routine skip_instruction                ; -> EAX = 1: go on
        read rdx, GUEST_RIP
        read rcx, EXIT_LENGTH
        add rdx, rcx
        field GUEST_RIP, rdx
        field GUEST_INTERRUPTIBILITY, 0
        mov eax, 1
        ret
endroutine

routine on_io
        read rbx, EXIT_QUALIFICATION
        bt ebx, 3                       ; 1: IN
        jc .input
        print "OUT to port "
        mov eax, ebx
        shr eax, 16
        mov cl, 2
        call puthex
        print ": the guest says "
        mov al, [guest + registers.rax]
        call putc
        print 10
        jmp skip_instruction
.input: print "IN from port "
        mov eax, ebx
        shr eax, 16
        mov cl, 2
        call puthex
        print ": it is told 42", 10
        mov byte [guest + registers.rax], 0x42
        jmp skip_instruction
endroutine

routine on_cpuid
        print "leaf "
        mov eax, [guest + registers.rax]
        mov cl, 8
        call puthex
        print ": it is told who runs it", 10
        mov qword [guest + registers.rax], 0x40000000
        mov qword [guest + registers.rbx], "Tiny"
        mov qword [guest + registers.rcx], "Hype"
        mov qword [guest + registers.rdx], "rvsr"
        jmp skip_instruction
endroutine

routine on_rdmsr
        print "MSR "
        mov eax, [guest + registers.rcx]
        mov cl, 8
        call puthex
        print ": it is told 0", 10
        mov qword [guest + registers.rax], 0
        mov qword [guest + registers.rdx], 0
        jmp skip_instruction
endroutine

routine on_exception
        print "interruption information "
        read rax, EXIT_INTERRUPTION
        mov cl, 8
        call puthex
        print ": UD2, stepped over", 10
        read rdx, GUEST_RIP             ; a fault has no instruction length
        add rdx, 2
        field GUEST_RIP, rdx
        mov eax, 1
        ret
endroutine

; The guest touched a page it does not have: it gets one, and the same instruction runs again.
routine on_ept_violation
        read rax, GUEST_PHYSICAL
        cmp rax, GUEST_MEMORY
        jae .beyond
        print "guest-physical "
        mov cl, 8
        call puthex
        print " is mapped now", 10
        mov ecx, eax
        shr ecx, 12
        call map_guest_page
        mov eax, 1
        ret
.beyond:
        print "beyond the guest's memory", 10
        xor eax, eax
        ret
endroutine

; HLT waits for an interrupt: here is one. VM entry delivers it through the guest's IDT.
routine on_hlt
        print "an interrupt, vector 30, is injected", 10
        call skip_instruction
        field ENTRY_INTERRUPTION, (1 << 31) | WAKE_VECTOR
        mov eax, 1
        ret
endroutine

routine on_vmcall
        cmp dword [guest + registers.rax], CALL_END
        je .done
        print "the guest reports: interrupts seen "
        mov eax, [guest + registers.rbx]
        call putdec
        print ", the late page holds "
        mov eax, [guest + registers.rcx]
        mov cl, 4
        call puthex
        print 10
        jmp skip_instruction
.done:  print "the guest is done", 10
        xor eax, eax
        ret
endroutine

routine report
        print 10, "Exits:", 10
        xor ebx, ebx
.next:  lea rax, [counts]
        mov eax, [rax + rbx * 4]
        test eax, eax
        jz .none
        mov ecx, 4
        call putdec_wide
        print "  "
        lea rsi, [names]
        mov rsi, [rsi + rbx * 8]
        call puts
        print 10
.none:  inc ebx
        cmp ebx, REASONS
        jb .next
        ret
endroutine

%include "console.inc"
%include "enter64.inc"

; Handlers and names by exit reason.
%macro by_reason 8
  %assign reason 0
  %rep REASONS
    %if reason == REASON_EXCEPTION
        dq %1
    %elif reason == REASON_CPUID
        dq %2
    %elif reason == REASON_HLT
        dq %3
    %elif reason == REASON_VMCALL
        dq %4
    %elif reason == REASON_IO
        dq %5
    %elif reason == REASON_RDMSR
        dq %6
    %elif reason == REASON_EPT_VIOLATION
        dq %7
    %else
        dq %8
    %endif
    %assign reason reason + 1
  %endrep
%endmacro
        section .rodata
handlers:
        by_reason on_exception, on_cpuid, on_hlt, on_vmcall, on_io, on_rdmsr, on_ept_violation, 0
names:  by_reason name.exception, name.cpuid, name.hlt, name.vmcall, name.io, name.rdmsr, name.ept, name.other
name:
.exception:     db "exception", 0
.cpuid:         db "CPUID", 0
.hlt:           db "HLT", 0
.vmcall:        db "VMCALL", 0
.io:            db "I/O instruction", 0
.rdmsr:         db "RDMSR", 0
.ept:           db "EPT violation", 0
.other:         db "other", 0
