// What the kernel may ask of what lies under it. Three files answer: hvm.c (a PC), and pv.c (Xen's ABI, in ring 3
// of 64-bit code or in ring 1 of 32-bit code). kernel.c and its companions know nothing else of the machine.
#ifndef MACHINE_H
#define MACHINE_H
#include <stdint.h>

typedef uintptr_t word;
typedef uint64_t entry;  // of a page table: PAE and long mode have the same

#define PAGE 4096u
#define PRESENT 1u
#define WRITABLE 2u
#define USER 4u
#define LARGE 128u
#define ENTRY_FRAME 0x000FFFFFFFFFF000ull

#define VECTOR_DIVIDE 0u
#define VECTOR_BREAKPOINT 3u
#define VECTOR_INVALID 6u
#define VECTOR_PROTECTION 13u
#define VECTOR_PAGE_FAULT 14u
#define VECTOR_TIMER 0x20u
#define VECTOR_SYSTEM_CALL 0x80u

// What a trap's entry leaves on the kernel's stack. In 32-bit code sp and ss are there only if it came from ring 3.
#ifdef __x86_64__
#define LEVELS 4
#define USER_BASE 0x10000000000ul
#define KERNEL_SLOTS 2            // of the root: what every space shares, behind it the programs' slot
struct registers {
  word r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;
};
static inline word call_first(const struct registers *r) { return r->di; }
static inline word call_second(const struct registers *r) { return r->si; }
#else
#define LEVELS 3
#define USER_BASE 0x40000000ul
#define KERNEL_SLOTS 1
struct registers {
  word di, si, bp, unused, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;
};
static inline word call_first(const struct registers *r) { return r->bx; }
static inline word call_second(const struct registers *r) { return r->cx; }
#endif
static inline word call_number(const struct registers *r) { return r->ax; }
static inline int from_ring3(const struct registers *r) { return (r->cs & 3) == 3; }

// Start and end. The command line without the loader's own words; a disk in memory, in pages from `page` on.
struct disk { word page; word bytes; };
void machine_start(void);
const char *command_line(void);
struct disk machine_disk(void);
_Noreturn void shut_down(void);
void console_write(const char *text, word length);

// Traps. kernel.c has `trap`, which the entries call with interrupts off.
void trap(struct registers *);
word fault_address(void);
// Ring 3 from these registers on; the next trap begins on an empty kernel stack.
void set_user_registers(struct registers *, word ip, word sp);
_Noreturn void enter_ring3(const struct registers *);

// Time: VECTOR_TIMER 250 times a second, from start to stop, while interrupts are on; and they are on only
// in ring 3 and here.
void start_timer(void);
void stop_timer(void);
void end_of_tick(void);
void wait_for_interrupt(void);

// Page tables. Pages are the kernel's own addresses of them; entries hold what the hardware wants.
entry *first_root(void);
entry entry_for(word page);
word page_behind(entry);
void set_entry(entry *, entry);
// A page of zeros is going to be a table.
void make_table(entry *page);
void forget(word address);
// A root with all its tables is going to be used; `companion` is a page more, for whoever needs one.
void make_space(entry *root, entry *companion);
void use_space(entry *root, entry *companion);

// Two operations to be measured that a kernel does not need here.
void read_port(void);
void set_priority(word);
#endif
