// The seven operations of Adams and Agesen, each `count` times between two marks. The marks are routines that do
// nothing: a debugger stops there and asks what it counted in between.
#include "kernel.h"

// What is being measured, for whoever stops at a mark.
const char *volatile operation_name;
volatile unsigned operation_count;

__attribute__((noinline)) void operation_begins(void) { __asm__ volatile("" : : : "memory"); }
__attribute__((noinline)) void operation_ends(void) { __asm__ volatile("" : : : "memory"); }

static entry *window_entry;
static entry page_values[2];

static void nothing(unsigned i) { __asm__ volatile("" : : "r"(i) : "memory"); }
static void in(unsigned i) { (void)i; read_port(); }
static void cr8wr(unsigned i) { set_priority(i & 7); }
static void callret(unsigned i) {
  (void)i;
  __asm__ volatile("call 1f; jmp 2f; 1: ret; 2:" : : : "memory");
}
static void divzero(unsigned i) {
  (void)i;
  __asm__ volatile("div %%ecx" : : "a"(1), "c"(0), "d"(0) : "cc", "memory");
}
static void ptemod(unsigned i) {
  set_entry(window_entry, page_values[i & 1]);
  forget(WINDOW);
}
static void put_page(word address) {
  (void)address;
  set_entry(window_entry, page_values[0]);
}
static void pgfault(unsigned i) {
  (void)i;
  set_entry(window_entry, 0);
  forget(WINDOW);
  (void)*(volatile unsigned *)WINDOW;
}

__attribute__((noinline)) static void repeat(void (*operation)(unsigned), unsigned count) {
  for (unsigned i = 0; i < count; i++) operation(i);
}

static void measure(const char *name, unsigned count, void (*operation)(unsigned)) {
  operation_name = name;
  operation_count = count;
  repeat(operation, WARM);
  operation_begins();
  repeat(operation, count);
  operation_ends();
  say("%s %d\n", name, count);
}

static void finish(void) {
  say("%s %d\nthe end\n", operation_name, operation_count);
  shut_down();
}

// The one that needs ring 3 sets its marks by system calls of its own.
_Noreturn static void measure_system_calls(unsigned count) {
  operation_name = "syscall";
  operation_count = count;
  when_all_ended = finish;
  add_task(2);
  run_tasks();
}

_Noreturn void measure_operations(unsigned count) {
  window_entry = entry_of(kernel_space.root, WINDOW, 1);
  for (unsigned i = 0; i < 2; i++) page_values[i] = entry_for((word)new_page()) | PRESENT | WRITABLE;
  expected = (struct expectation){2, 0, put_page};
  measure("nothing", count, nothing);
  measure("in", count, in);
  measure("cr8wr", count, cr8wr);
  measure("callret", count, callret);
  measure("pgfault", count, pgfault);
  measure("divzero", count, divzero);
  measure("ptemod", count, ptemod);
  measure_system_calls(count);
}
