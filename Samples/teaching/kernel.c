// A small kernel, ported three times: this file and its companions are the same in every port. It shows traps,
// paging, a timer, block reads and two programs in ring 3, and prints the same lines whatever lies under it.
#include "kernel.h"

volatile struct expectation expected;
volatile unsigned ticks;

// Every trap, interrupt and system call comes here, with interrupts off.
void trap(struct registers *r) {
  if (r->vector == VECTOR_TIMER) {
    ticks++;
    end_of_tick();
    if (!from_ring3(r)) return;
  }
  if (from_ring3(r)) return user_trap(r);
  if (expected.mend && r->vector == VECTOR_PAGE_FAULT) return expected.mend(fault_address());
  int is_skipped = expected.skip && (r->vector == VECTOR_DIVIDE || r->vector == VECTOR_INVALID);
  if (is_skipped || r->vector == VECTOR_BREAKPOINT) {
    r->ip += expected.skip;
    expected.seen = (unsigned)r->vector;
    return;
  }
  say("the kernel ends: trap %d\n", (unsigned)r->vector);
  shut_down();
}

// Each in two bytes but INT3, which leaves IP behind itself.
static void show_traps(void) {
  expected = (struct expectation){2, 99, 0};
  __asm__ volatile("div %%ecx" : : "a"(1), "c"(0), "d"(0) : "cc", "memory");
  if (expected.seen == VECTOR_DIVIDE) say("traps: a division by zero, survived\n");
  __asm__ volatile("ud2" : : : "memory");
  if (expected.seen == VECTOR_INVALID) say("traps: an invalid instruction, survived\n");
  expected.skip = 0;
  __asm__ volatile("int3" : : : "memory");
  if (expected.seen == VECTOR_BREAKPOINT) say("traps: a breakpoint, survived\n");
}

static void *spare;
static unsigned mended;

static void put_page_back(word address) {
  mended++;
  map(&kernel_space, address, (word)spare, WRITABLE);
}

static void show_paging(void) {
  volatile unsigned *window = (volatile unsigned *)WINDOW;
  spare = new_page();
  map(&kernel_space, WINDOW, (word)spare, WRITABLE);
  *window = 4711;
  unmap(&kernel_space, WINDOW);
  expected = (struct expectation){0, 0, put_page_back};
  unsigned value = *window;
  expected.mend = 0;
  unmap(&kernel_space, WINDOW);
  if (value == 4711 && mended == 1) say("paging: a page was taken away, missed when touched, and put back\n");
}

static void show_timer(void) {
  start_timer();
  while (ticks < 3) wait_for_interrupt();
  say("timer: three ticks came while the processor waited\n");
}

static void show_disk(void) {
  static char block[BLOCK + 1];
  if (!disk_blocks()) return say("disk: none\n");
  read_block(0, block);
  say("disk: %d blocks; the first says: %s", disk_blocks(), block);
}

static void finish(void) {
  stop_timer();
  say("the end\n");
  shut_down();
}

// `ops` or `ops:COUNT` among the words of the command line; 0 without.
static unsigned operations_wanted(void) {
  const char *at = command_line();
  for (; *at; at++) {
    if (!same_text(at, "ops", 3)) continue;
    unsigned count = 0;
    for (at += 3; *at == ':' || (*at >= '0' && *at <= '9'); at++)
      if (*at != ':') count = count * 10 + (unsigned)(*at - '0');
    return count ? count : 1000;
  }
  return 0;
}

void kernel_main(void) {
  machine_start();
  kernel_space.root = first_root();
  say("A small kernel: the same lines on every machine\n");
  unsigned count = operations_wanted();
  if (count) measure_operations(count);
  show_traps();
  show_paging();
  show_disk();
  show_timer();
  when_all_ended = finish;
  add_task(0);
  add_task(1);
  run_tasks();
}
