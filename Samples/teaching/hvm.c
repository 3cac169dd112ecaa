// The machine is a PC, and the kernel its owner: descriptor tables, PICs, PIT, UART, CR3 are ours to write.
#include "machine.h"

#define COM1 0x3F8u
#define PIC1 0x20u
#define PIC2 0xA0u
#define PIT 0x40u
#define EXIT_PORT 0xF4u
#define DOORBELL 0x4852u          // a hypercall of Ringside's; elsewhere nobody answers
#define TICKS_PER_SECOND 250u
#define PIT_FREQUENCY 1193182u
#define KERNEL_CS 0x08u
#define GATE_INTERRUPT 0x8E00u
#define GATE_USER 0xEE00u

// From the entry: what the loader left in EBX, and the stubs.
extern uint32_t multiboot_info;
extern char trap_stub_0[], trap_stub_end[], timer_stub[], system_call_stub[];
extern entry boot_root[];

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

// MARK: start and end

static uint32_t *information(unsigned offset) { return (uint32_t *)(uintptr_t)(multiboot_info + offset); }

const char *command_line(void) {
  const char *line = (const char *)(uintptr_t)*information(16);
  while (line && *line && *line != ' ') line++;  // the first word is the program's name
  return line ? line : "";
}

struct disk machine_disk(void) {
  struct disk none = {0, 0};
  if (!(*information(0) & 8) || !*information(20)) return none;
  uint32_t *module = (uint32_t *)(uintptr_t)*information(24);
  return (struct disk){module[0], module[1] - module[0]};
}

_Noreturn void shut_down(void) {
  word a = 0;
  __asm__ volatile("outl %%eax, %%dx" : "+a"(a) : "d"(DOORBELL), "b"(0) : "memory");
  if (a == 1) {
    a = 3;
    __asm__ volatile("outl %%eax, %%dx" : "+a"(a) : "d"(DOORBELL), "b"(0) : "memory");
  }
  __asm__ volatile("outl %0, %1" : : "a"(0), "Nd"((uint16_t)EXIT_PORT));
  for (;;) __asm__ volatile("cli; hlt");
}

void console_write(const char *text, word length) {
  while (length--) {
    while (!(in8(COM1 + 5) & 0x20)) {}
    out8(COM1, (uint8_t)*text++);
  }
}

static void start_serial(void) {
  static const uint8_t setup[][2] = {{1, 0}, {3, 0x80}, {0, 1}, {1, 0}, {3, 3}, {2, 7}};
  for (unsigned i = 0; i < sizeof setup / sizeof setup[0]; i++) out8((uint16_t)(COM1 + setup[i][0]), setup[i][1]);
}

// MARK: traps

#ifdef __x86_64__
#define GATE_WORDS 4
#define DATA_SELECTOR 0x1Bu
#define CODE_SELECTOR 0x23u
#else
#define GATE_WORDS 2
#define CODE_SELECTOR 0x1Bu
#define DATA_SELECTOR 0x23u
#endif
static uint32_t idt[256 * GATE_WORDS] __attribute__((aligned(16)));

static void set_gate(unsigned vector, const char *stub, uint32_t type) {
  uint64_t address = (uintptr_t)stub;
  uint32_t *gate = idt + vector * GATE_WORDS;
  gate[0] = KERNEL_CS << 16 | (uint32_t)(address & 0xFFFF);
  gate[1] = (uint32_t)(address & 0xFFFF0000) | type;
#ifdef __x86_64__
  gate[2] = (uint32_t)(address >> 32);
#endif
}

static void start_traps(void) {
  unsigned size = (unsigned)(trap_stub_end - trap_stub_0) / 32;
  for (unsigned vector = 0; vector < 32; vector++) set_gate(vector, trap_stub_0 + vector * size, GATE_INTERRUPT);
  set_gate(VECTOR_TIMER, timer_stub, GATE_INTERRUPT);
  struct { uint16_t limit; word base; } __attribute__((packed)) pointer = {sizeof idt - 1, (word)idt};
  __asm__ volatile("lidt %0" : : "m"(pointer));
#ifdef __x86_64__
  // SYSCALL: kernel selectors from 8, programs' from 10h + 3; flags cleared.
  const uint64_t values[][2] = {{0xC0000081, 0x100008ull << 32}, {0xC0000082, (word)system_call_stub}, {0xC0000084, 0x700}};
  for (unsigned i = 0; i < 3; i++)
    __asm__ volatile("wrmsr" : : "c"((uint32_t)values[i][0]), "a"((uint32_t)values[i][1]), "d"((uint32_t)(values[i][1] >> 32)));
#else
  set_gate(VECTOR_SYSTEM_CALL, system_call_stub, GATE_USER);
#endif
}

static void start_interrupt_controllers(void) {
  static const uint8_t setup[][2] = {
    {PIC1, 0x11}, {PIC2, 0x11}, {PIC1 + 1, VECTOR_TIMER}, {PIC2 + 1, VECTOR_TIMER + 8}, {PIC1 + 1, 4}, {PIC2 + 1, 2},
    {PIC1 + 1, 1}, {PIC2 + 1, 1}, {PIC1 + 1, 0xFF}, {PIC2 + 1, 0xFF},
  };
  for (unsigned i = 0; i < sizeof setup / sizeof setup[0]; i++) out8(setup[i][0], setup[i][1]);
}

void machine_start(void) {
  start_serial();
  start_traps();
  start_interrupt_controllers();
}

word fault_address(void) {
  word address;
  __asm__ volatile("mov %%cr2, %0" : "=r"(address));
  return address;
}

void set_user_registers(struct registers *r, word ip, word sp) {
  *r = (struct registers){.ip = ip, .cs = CODE_SELECTOR, .flags = 0x202, .sp = sp, .ss = DATA_SELECTOR};
}

// MARK: time

void start_timer(void) {
  out8(PIT + 3, 0x34);  // channel 0, mode 2
  out8(PIT, PIT_FREQUENCY / TICKS_PER_SECOND & 0xFF);
  out8(PIT, PIT_FREQUENCY / TICKS_PER_SECOND >> 8);
  out8(PIC1 + 1, 0xFE);
}

void stop_timer(void) { out8(PIC1 + 1, 0xFF); }
void end_of_tick(void) { out8(PIC1, 0x20); }
void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }

// MARK: page tables

entry *first_root(void) { return boot_root; }
entry entry_for(word page) { return page; }
word page_behind(entry value) { return (word)(value & ENTRY_FRAME); }
void set_entry(entry *at, entry value) { *(volatile entry *)at = value; }
void make_table(entry *page) { (void)page; }
void forget(word address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
void make_space(entry *root, entry *companion) { (void)root, (void)companion; }

void use_space(entry *root, entry *companion) {
  (void)companion;
  __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

// MARK: operations

void read_port(void) { in8(0x80); }

#ifdef __x86_64__
void set_priority(word priority) { __asm__ volatile("mov %0, %%cr8" : : "r"(priority)); }
#else
// 32-bit code has no CR8; the controllers' own mask comes nearest.
void set_priority(word priority) { out8(PIC1 + 1, (uint8_t)(0xFF & ~priority)); }
#endif
