; A breakpoint with an empty IDT: the #BP cannot be delivered, nor the #GP that causes, nor the #DF
; that causes. The processor shuts down; the monitor sees exit reason 2.
%include "machine.inc"
%include "multiboot.inc"
        width 32

routine main
        print "Loading an IDT of no entries, then INT3.", 10
        lidt [empty]
        int3
        print "This is never said.", 10
        ret
endroutine

        section .rodata
empty:  dw 0
        dd 0

%include "console.inc"
%include "enter32.inc"
