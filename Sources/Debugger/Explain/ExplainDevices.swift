/// Registers of the PC's devices as their panes show them.
enum ExplainDevices {
  private static func row(_ device: String, _ name: String, _ aliases: [String] = [], _ title: String, _ rule: String, _ section: String) -> ExplainEntry {
    ExplainEntry("\(device).\(name)", aliases.map { "\(device).\($0)" }, title: title, rule, section)
  }

  static let entries: [ExplainEntry] = serial + pit + clock + keyboard + simple + pic + ioapic + lapic

  private static let uart = "National PC16550D data sheet"
  private static let serial: [ExplainEntry] = [
    row("serial", "line", [], "16550: line settings", "Baud rate from the divisor (115200 / divisor), data bits, parity and stop bits from LCR. Nothing here waits that long: bytes pass at once.", uart),
    row("serial", "ier", [], "16550 IER, port +1: interrupt enable", "Bit 0 data received, 1 transmitter empty, 2 line status, 3 modem status. On a PC MCR.OUT2 must be set too, or IRQ 4 stays low.", uart),
    row("serial", "iir", [], "16550 IIR, port +2 (read): interrupt identification", "Bit 0 is 0 while an interrupt waits; bits 3:1 say which, the most urgent first: 3 line status, 2 data, 6 timeout, 1 transmitter empty, 0 modem. Bits 7:6 set: FIFO on.", uart),
    row("serial", "lcr", [], "16550 LCR, port +3: line control", "Bits 1:0 data bits - 5, 2 stop bits, 5:3 parity, 6 break, 7 DLAB: ports +0 and +1 are then the divisor.", uart),
    row("serial", "mcr", [], "16550 MCR, port +4: modem control", "Bit 0 DTR, 1 RTS, 2 OUT1, 3 OUT2 (lets the interrupt through on a PC), 4 loopback for self-tests.", uart),
    row("serial", "lsr", [], "16550 LSR, port +5: line status", "Bit 0 data ready, 1 overrun, 2 parity, 3 framing, 4 break, 5 holding register empty, 6 all sent, 7 error in FIFO. Drivers wait for bit 5.", uart),
    row("serial", "receivefifo", ["fifo"], "16550: receive FIFO", "Up to 16 bytes wait here with FCR bit 0; an interrupt comes at the trigger level, or when the guest left them lying for a while.", uart),
    row("serial", "waitinginput", ["waiting"], "16550: waiting input", "Bytes typed to the guest that did not fit into its FIFO yet; they follow as it reads.", uart),
    row("serial", "interrupt", [], "16550: interrupt line", "IRQ 4 for COM1. Level: it stays up until the cause is read away.", uart),
  ]

  private static let timer = "Intel 8254 data sheet"
  private static let pit: [ExplainEntry] = [
    row("pit", "counter0", [], "8254 counter 0: IRQ 0", "Counts 1.193182 MHz down from its reload (0 means 65536). Mode 2 pulses, mode 3 is a square wave, mode 0 fires once; the output is IRQ 0, the system tick.", timer),
    row("pit", "counter1", [], "8254 counter 1", "Refreshed memory on the first PCs; today it only counts.", timer),
    row("pit", "counter2", [], "8254 counter 2: speaker", "Gated by port 61h bit 0, its output is port 61h bit 5: how systems measure their TSC without interrupts.", timer),
    row("pit", "outrises", [], "8254: time to the next edge", "When OUT goes up next, in virtual time: for counter 0 that is the next IRQ 0.", timer),
    row("pit", "port61h", [], "Port 61h", "Bit 0 gate of counter 2, bit 1 speaker, bit 4 toggles with refresh, bit 5 output of counter 2.", "IBM PC/AT reference"),
  ]

  private static let rtcSheet = "Motorola MC146818A data sheet"
  private static let clock: [ExplainEntry] = [
    row("rtc", "time", [], "MC146818: date and time", "Virtual time since the fixed start date, so that runs repeat. BCD or binary by register B.", rtcSheet),
    row("rtc", "index", [], "CMOS index, port 70h", "Which of 128 bytes port 71h reads or writes; bit 7 once masked NMIs.", rtcSheet),
    row("rtc", "periodic", [], "RTC: periodic interrupt", "The rate register A asks for, 2 Hz to 8 kHz; IRQ 8 comes at it while register B bit 6 is set and C is read.", rtcSheet),
    row("rtc", "nextevent", ["next"], "RTC: next event", "The next update, alarm or periodic tick, in virtual time.", rtcSheet),
    row("rtc", "a", [], "RTC register A", "Bits 3:0 rate of the periodic interrupt, 6:4 divider, 7 update in progress: do not read the time while set.", rtcSheet),
    row("rtc", "b", [], "RTC register B", "Bit 1 24-hour, 2 binary, 4 update, 5 alarm and 6 periodic interrupt enable, 7 halts updates.", rtcSheet),
    row("rtc", "c", [], "RTC register C", "Which interrupt came: bits 4 update, 5 alarm, 6 periodic, 7 any. Reading clears it; a guest that never reads it gets IRQ 8 once.", rtcSheet),
  ]

  private static let keyboard: [ExplainEntry] = [
    row("ps2", "commandbyte", [], "8042 command byte", "Bit 0 keyboard interrupt (IRQ 1), 1 mouse interrupt, 4 keyboard off, 5 mouse off, 6 translation to scan code set 1.", "IBM PS/2 reference"),
    row("ps2", "outputport", [], "8042 output port", "Bit 0 is the processor's reset (0 resets), bit 1 the A20 gate.", "IBM PS/2 reference"),
    row("ps2", "outputbuffer", [], "8042 output buffer, port 60h", "The byte the guest reads next; status bit 0 (port 64h) says it is there.", "IBM PS/2 reference"),
    row("ps2", "keyswaiting", [], "Keyboard: keys waiting", "Scan codes behind the output buffer.", "IBM PS/2 reference"),
    row("ps2", "a20", [], "A20 gate", "On the AT it forced address bit 20 to 0, for 8086 programs that wrap at 1 MiB. Here it is kept, shown and ignored.", "IBM PC/AT reference"),
  ]

  private static let simple: [ExplainEntry] = [
    row("vga", "cursor", [], "VGA: cursor", "Cell counted from B8000h by the CRTC's registers 0Eh and 0Fh.", "IBM VGA reference"),
    row("vga", "startaddress", [], "VGA: start address", "First cell shown, CRTC registers 0Ch and 0Dh: how text scrolls without copying.", "IBM VGA reference"),
    row("post", "port80h", [], "POST code, port 80h", "Progress codes of firmware; also a cheap delay.", "IBM PC/AT reference"),
    row("post", "port190h", [], "POST code, port 190h", "Where test ROMs such as test386 report their progress.", "test386.asm"),
    row("power", "resetcontrol", [], "Reset control, port CF9h", "Bit 1 kind, bit 2 0 to 1 resets: hard with bit 1.", "Intel PCH data sheet"),
    row("echo", "value", [], "Echo port", "Gives back what was last written: for tests of port widths.", "Ringside"),
    row("firmware", "selector", [], "Configuration device, port 510h", "Which item port 511h gives byte by byte: 0 its signature, 3 RAM size, 5 processors, 19h its files. SeaBIOS and test programs ask it.", "QEMU, docs/specs/fw_cfg"),
    row("firmware", "position", [], "Configuration device: position", "The next byte of the selected item; behind its end there are zeros.", "QEMU, docs/specs/fw_cfg"),
    row("test", "memory", [], "Test device: memory at FF000000h", "64 KiB whose every access exits, for programs that test an emulator's instructions; ports 2000h to 2017h set interrupt lines.", "QEMU's pc-testdev"),
    row("bios", "calls", [], "BIOS: calls", "How many INT services the guest has asked for. Boot sectors live on them: each leaves for the monitor by a port of its own.", "Ringside"),
    row("bios", "lastcall", [], "BIOS: last call", "Interrupt and AH of the newest: INT 10h screen, 13h disk, 15h memory, 16h keyboard, 1Ah clock.", "Ralf Brown's interrupt list"),
    row("bios", "drive", ["drive00h", "drive80h"], "BIOS: drive", "Geometry and status of a disk the BIOS serves: 00h is the first floppy, 80h the first hard disk.", "Ralf Brown's interrupt list"),
    row("doorbell", "number", [], "Hypercall doorbell, port 4852h", "OUT of the number asks the monitor; arguments in RBX, RCX, ...; the result comes back in RAX.", "Ringside"),
  ]

  private static let picSheet = "Intel 8259A data sheet"
  private static let pic: [ExplainEntry] = [
    row("pic", "irr", [], "8259A IRR: interrupt requests", "Lines that ask: bit n is IRQ n (8 + n on the second). It goes to ISR when the processor acknowledges.", picSheet),
    row("pic", "isr", [], "8259A ISR: in service", "Acknowledged and without EOI yet: holds back this and all lower priorities. One that stays set means a handler forgot its EOI.", picSheet),
    row("pic", "imr", [], "8259A IMR, ports 21h and A1h: mask", "A set bit keeps that line from asking. IRQ 2 carries the second chip: masked, IRQ 8 to 15 are too.", picSheet),
    row("pic", "base", [], "8259A vector base (ICW2)", "Vector of line 0. The BIOS leaves 08h, which protected mode gives to exceptions; systems move it to 20h.", picSheet),
    row("pic", "elcr", [], "ELCR, ports 4D0h and 4D1h: edge or level", "A set bit makes that line level-triggered, as PCI wants.", "Intel PIIX data sheet"),
    row("pic", "intr", [], "8259A INTR: output", "1 while something unmasked and of high enough priority asks the processor.", picSheet),
  ]

  private static let ioapicSheet = "Intel 82093AA data sheet"
  private static let ioapic: [ExplainEntry] = [
    row("ioapic", "id", [], "IOAPIC id", "Its number on the APIC bus, for tables of the firmware.", ioapicSheet),
    row("ioapic", "pinsup", [], "IOAPIC: pins up", "Lines that are asserted now, bit n for pin n.", ioapicSheet),
    row("ioapic", "pin", [], "IOAPIC redirection entry", "Vector, delivery mode, polarity, trigger, mask and destination of one pin. Remote IRR (level) waits for the EOI.", ioapicSheet),
  ]

  private static let apic = "SDM 3A 11.4 to 11.8"
  private static let lapic: [ExplainEntry] = [
    row("lapic", "mode", [], "Local APIC mode", "xAPIC: registers in memory at APIC_BASE. x2APIC: MSRs 800h to 8FFh. Off: only the 8259A's INTR gets through.", apic),
    row("lapic", "softwareenabled", [], "Local APIC: software enable", "Bit 8 of the spurious-vector register. Without it all LVT entries are masked.", apic),
    row("lapic", "tpr", [], "TPR: task priority", "Vectors whose upper digit is not above TPR's wait. CR8 is its upper digit.", apic),
    row("lapic", "ppr", [], "PPR: processor priority", "The higher of TPR and the vector in service: what decides now.", apic),
    row("lapic", "irr", [], "IRR: interrupt requests", "256 bits: vectors that arrived and have not been taken.", apic),
    row("lapic", "isr", [], "ISR: in service", "256 bits: vectors being handled. The highest holds back its class and below until EOI.", apic),
    row("lapic", "tmr", [], "TMR: trigger mode", "A set bit marks a level-triggered vector: its EOI is told to the IOAPIC.", apic),
    row("lapic", "icr", [], "ICR: interrupt command", "Writing it sends an IPI: vector, mode (fixed, NMI, INIT, start-up), destination.", apic),
    row("lapic", "esr", [], "ESR: error status", "Illegal vectors sent or received, illegal register. Written before it is read.", apic),
    row("lapic", "lvt", [], "Local vector table entry", "Vector, delivery mode, mask (bit 16) of a local source; the timer's bits 18:17 choose one-shot, periodic or TSC deadline.", apic),
    row("lapic", "timer", [], "Local APIC timer", "Counts down from the initial count at its clock over the divisor; at 0 it sends LVT timer's vector, and in periodic mode begins again.", apic),
  ]
}
