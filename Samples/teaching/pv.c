// There is no machine: the kernel is a guest of Xen's ABI, in ring 3 of 64-bit code or ring 1 of 32-bit code. What
// hvm.c writes into registers and tables, it asks for by hypercall.
#include "xen.h"

#define TICK 4000000u             // ns
#define TIMER_INTERRUPT 0u

// From the entry: where the domain builder left its page, and the stubs.
extern struct start_info *start_info;
extern char trap_stub_0[], trap_stub_end[], event_stub[], failsafe_stub[], system_call_stub[], kernel_stack_top[];

static char shared_page[PAGE] __attribute__((aligned(PAGE)));
#define SHARED ((struct shared_info *)shared_page)
static uint32_t timer_port;

// MARK: start and end

const char *command_line(void) { return start_info->command_line; }
struct disk machine_disk(void) { return (struct disk){start_info->module_start * PAGE, start_info->module_size}; }

_Noreturn void shut_down(void) {
  uint32_t reason = 0;
  for (;;) hypercall(SCHED_OP, SCHED_SHUTDOWN, (word)&reason, 0, 0);
}

// MARK: page tables

// Frame numbers of the machine, by the kernel's own and back; the kernel's addresses are its own numbers.
static word machine_frame(word page) { return ((const word *)start_info->frame_list)[page / PAGE]; }

entry *first_root(void) { return (entry *)start_info->table_base; }
entry entry_for(word page) { return (entry)machine_frame(page) * PAGE; }
word page_behind(entry value) {
  return ((const word *)MACHINE_TO_PHYSICAL)[(value & ENTRY_FRAME) / PAGE] * PAGE;
}

void set_entry(entry *at, entry value) {
  struct table_update update = {entry_for((word)at) | ((word)at & (PAGE - 1)), value};
  hypercall(MMU_UPDATE, (word)&update, 1, 0, DOMAIN_SELF);
}

static void set_mapping(word address, entry value) {
#ifdef __x86_64__
  hypercall(UPDATE_VA_MAPPING, address, value, INVALIDATE_LOCALLY, 0);
#else
  hypercall(UPDATE_VA_MAPPING, address, (word)value, (word)(value >> 32), INVALIDATE_LOCALLY);
#endif
}

static void extended(uint32_t command, word first) {
  struct extended_op op = {command, first, 0};
  hypercall(MMUEXT_OP, (word)&op, 1, 0, DOMAIN_SELF);
}

// No page is a table and writable at once.
void make_table(entry *page) { set_mapping((word)page, entry_for((word)page) | PRESENT); }
void forget(word address) { extended(MMUEXT_INVALIDATE, address); }

// In 64 bits programs have a root of their own, in which the kernel is not: both are in ring 3. In 32 bits the last
// of the root's four tables is nobody else's, as the monitor has its part there.
void make_space(entry *root, entry *companion) {
  make_table(companion);
#ifdef __x86_64__
  set_entry(&companion[KERNEL_SLOTS], root[KERNEL_SLOTS]);
  extended(PIN_ROOT, machine_frame((word)companion));
#else
  set_entry(&root[3], entry_for((word)companion) | PRESENT);
#endif
  extended(PIN_ROOT, machine_frame((word)root));
}

void use_space(entry *root, entry *companion) {
  extended(MMUEXT_NEW_BASE, machine_frame((word)root));
#ifdef __x86_64__
  extended(MMUEXT_NEW_USER_BASE, machine_frame((word)companion));
#else
  (void)companion;
#endif
}

// MARK: console

void console_write(const char *text, word length) {
  if (start_info->flags & INITIAL_DOMAIN) {
    hypercall(CONSOLE_IO, 0, length, (word)text, 0);
    return;
  }
  struct console_ring *ring = (struct console_ring *)page_behind((entry)start_info->console_frame * PAGE);
  uint32_t port = start_info->console_port;
  while (length--) {
    while (ring->out_producer - ring->out_consumer == sizeof ring->out) hypercall(SCHED_OP, SCHED_YIELD, 0, 0, 0);
    ring->out[ring->out_producer % sizeof ring->out] = *text++;
    ring->out_producer++;
  }
  hypercall(EVENT_CHANNEL_OP, EVENT_SEND, (word)&port, 0, 0);
}

// MARK: traps

static void start_traps(void) {
  static struct trap_handler table[34];
  unsigned size = (unsigned)(trap_stub_end - trap_stub_0) / 32;
  for (unsigned vector = 0; vector < 32; vector++) {
    uint8_t ring = vector == VECTOR_BREAKPOINT ? 3 : 0;
    table[vector] = (struct trap_handler){(uint8_t)vector, ring | 4, KERNEL_CS, (word)trap_stub_0 + vector * size};
  }
#ifdef __x86_64__
  hypercall(SET_CALLBACKS, (word)event_stub, (word)failsafe_stub, (word)system_call_stub, 0);
#else
  table[32] = (struct trap_handler){VECTOR_SYSTEM_CALL, 3 | 4, KERNEL_CS, (word)system_call_stub};
  hypercall(SET_CALLBACKS, KERNEL_CS, (word)event_stub, KERNEL_CS, (word)failsafe_stub);
#endif
  hypercall(SET_TRAP_TABLE, (word)table, 0, 0, 0);
  hypercall(STACK_SWITCH, KERNEL_SS, (word)kernel_stack_top, 0, 0);
}

void machine_start(void) {
  set_mapping((word)shared_page, (entry)start_info->shared_info | PRESENT | WRITABLE);
  start_traps();
  uint32_t iopl = 1;
  hypercall(PHYSDEV_OP, PHYSDEV_SET_IOPL, (word)&iopl, 0, 0);
}

word fault_address(void) { return SHARED->vcpu[0].cr2; }

void set_user_registers(struct registers *r, word ip, word sp) {
  *r = (struct registers){.ip = ip, .cs = PROGRAM_CS, .flags = 0x202, .sp = sp, .ss = PROGRAM_SS};
}

// MARK: time

static uint64_t next_tick;

// What the counter has gone on since the monitor last wrote the time; the monitor makes the version odd meanwhile.
static uint64_t now(void) {
  const struct time_info *time = &SHARED->vcpu[0].time;
  uint32_t version, low, high;
  uint64_t result;
  do {
    version = time->version;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    uint64_t counts = ((uint64_t)high << 32 | low) - time->counter;
    counts = time->shift < 0 ? counts >> -time->shift : counts << time->shift;
    uint64_t scaled = (counts >> 32) * time->factor + ((counts & 0xFFFFFFFF) * time->factor >> 32);
    result = time->nanoseconds + scaled;
  } while (version & 1 || version != time->version);
  return result;
}

// A timer rings once: the monitor has one that rings again and again, but not for a guest that waits.
static void set_timer(void) {
  uint64_t present = now();
  next_tick = next_tick + TICK > present ? next_tick + TICK : present + TICK;
  struct { uint64_t at; uint32_t flags, unused; } timer = {next_tick, 0, 0};
  hypercall(VCPU_OP, VCPU_SET_TIMER, 0, (word)&timer, 0);
}

void start_timer(void) {
  struct { uint32_t interrupt, vcpu, port; } bind = {TIMER_INTERRUPT, 0, 0};
  hypercall(EVENT_CHANNEL_OP, EVENT_BIND_VIRQ, (word)&bind, 0, 0);
  timer_port = bind.port;
  SHARED->masked[0] &= ~((word)1 << timer_port);
  next_tick = now();
  set_timer();
}

void stop_timer(void) { hypercall(VCPU_OP, VCPU_STOP_TIMER, 0, 0, 0); }

// The timer's is the only port that is not masked.
void end_of_tick(void) {
  SHARED->vcpu[0].pending = 0;
  SHARED->vcpu[0].selector = 0;
  SHARED->pending[0] &= ~((word)1 << timer_port);
  set_timer();
}

void wait_for_interrupt(void) {
  hypercall(SCHED_OP, SCHED_BLOCK, 0, 0, 0);
  SHARED->vcpu[0].masked = 1;
}

// MARK: operations

// An IN is none of the kernel's business here; the monitor emulates it.
void read_port(void) { __asm__ volatile("inb $0x80, %%al" : : : "eax"); }

// No task priority register: events are masked by a store.
void set_priority(word priority) {
  (void)priority;
  SHARED->vcpu[0].masked = 1;
}
