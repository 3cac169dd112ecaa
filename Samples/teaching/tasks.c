// Programs in ring 3: their spaces, their system calls, and who runs next.
#include "kernel.h"

#define TASKS 2u
#define SLICE 3u  // ticks a program may run without needing the kernel

enum state { NONE, READY, ASLEEP, ENDED };
struct task {
  enum state state;
  unsigned wakes_at, ticks_used, heap_pages;
  struct space space;
  struct registers registers;
};
static struct task tasks[TASKS];
static unsigned task_count, current, system_calls;
void (*when_all_ended)(void);

// The programs, linked for USER_BASE: a table of entry points, then code and constants.
extern const char programs_start[], programs_end[];

static void load_programs(struct space *space) {
  for (word at = 0; at < (word)(programs_end - programs_start); at += PAGE)
    map(space, USER_BASE + at, (word)programs_start + at, USER);
}

void add_task(unsigned program) {
  static void *shared;
  if (!shared) shared = new_page();
  struct task *task = &tasks[task_count++];
  task->space = new_space();
  load_programs(&task->space);
  map(&task->space, USER_SHARED, (word)shared, USER | WRITABLE);
  map(&task->space, USER_STACK - PAGE, (word)new_page(), USER | WRITABLE);
  set_user_registers(&task->registers, ((const word *)programs_start)[program], USER_STACK - 64);
  task->state = READY;
}

// The next one that can run, from the present one's neighbour on; TASKS where none can.
static unsigned next_ready(void) {
  for (unsigned step = 1; step <= TASKS; step++) {
    unsigned index = (current + step) % TASKS;
    struct task *task = &tasks[index];
    if (task->state == ASLEEP && (int)(ticks - task->wakes_at) >= 0) task->state = READY;
    if (task->state == READY) return index;
  }
  return TASKS;
}

static int some_asleep(void) {
  for (unsigned i = 0; i < TASKS; i++) if (tasks[i].state == ASLEEP) return 1;
  return 0;
}

static void choose(void) {
  unsigned next;
  while ((next = next_ready()) == TASKS) {
    if (some_asleep()) wait_for_interrupt();
    else {
      say("kernel: all programs have ended, after %d system calls\n", system_calls);
      when_all_ended();
    }
  }
  current = next;
  tasks[current].ticks_used = 0;
  use_space(tasks[current].space.root, tasks[current].space.companion);
}

// Leaves the present program as `r` has it and gives `r` the next one's registers.
static void switch_tasks(struct registers *r) {
  tasks[current].registers = *r;
  choose();
  *r = tasks[current].registers;
}

_Noreturn void run_tasks(void) {
  current = TASKS - 1;
  choose();
  enter_ring3(&tasks[current].registers);
}

static void end_task(struct registers *r, const char *why) {
  say("kernel: program %d ends: %s\n", current + 1, why);
  tasks[current].state = ENDED;
  switch_tasks(r);
}

// A program may point only at what is its own, and there.
static int is_users(word address, word length) {
  if (address < USER_BASE || address >= USER_STACK || length > PAGE || address + length > USER_STACK) return 0;
  for (word page = address & ~(word)(PAGE - 1); page < address + length; page += PAGE) {
    entry *slot = entry_of(tasks[current].space.root, page, 0);
    if (!slot || (*slot & (PRESENT | USER)) != (PRESENT | USER)) return 0;
  }
  return 1;
}

static word user_read_block(unsigned number, word to) {
  static char block[BLOCK];
  if (!is_users(to, BLOCK) || !read_block(number, block)) return 0;
  for (unsigned i = 0; i < BLOCK; i++) ((char *)to)[i] = block[i];
  return BLOCK;
}

static void system_call(struct registers *r) {
  struct task *task = &tasks[current];
  switch ((enum call)call_number(r)) {
    case CALL_WRITE:
      if (is_users(call_first(r), call_second(r))) console_write((const char *)call_first(r), call_second(r));
      break;
    case CALL_READ_BLOCK: r->ax = user_read_block((unsigned)call_first(r), call_second(r)); break;
    case CALL_YIELD: return switch_tasks(r);
    case CALL_SLEEP:
      task->state = ASLEEP;
      task->wakes_at = ticks + (unsigned)call_first(r);
      return switch_tasks(r);
    case CALL_EXIT: return end_task(r, "it is done");
    case CALL_MARK:
      if (call_first(r)) operation_ends(); else operation_begins();
      r->ax = operation_count;
      break;
    case CALL_NOTHING: break;
    default: end_task(r, "there is no such system call");
  }
}

// Heap pages appear when they are touched.
static void page_fault(struct registers *r) {
  word address = fault_address();
  if (address < USER_HEAP || address >= USER_HEAP_END) return end_task(r, "it touched memory that is not its own");
  map(&tasks[current].space, address & ~(word)(PAGE - 1), (word)new_page(), USER | WRITABLE);
  say("kernel: program %d gets page %d of its heap\n", current + 1, ++tasks[current].heap_pages);
}

static void tick(struct registers *r) {
  if (++tasks[current].ticks_used >= SLICE) switch_tasks(r);
}

void user_trap(struct registers *r) {
  if (r->vector != VECTOR_TIMER) tasks[current].ticks_used = 0;
  switch (r->vector) {
    case VECTOR_SYSTEM_CALL:
      system_calls++;
      return system_call(r);
    case VECTOR_TIMER: return tick(r);
    case VECTOR_PAGE_FAULT: return page_fault(r);
    case VECTOR_PROTECTION: return end_task(r, "it tried what ring 3 may not");
    default: end_task(r, "a trap");
  }
}
