// What the kernel's parts know of each other.
#ifndef KERNEL_H
#define KERNEL_H
#include "machine.h"

// text.c
void say(const char *format, ...);
int same_text(const char *a, const char *b, unsigned length);

// memory.c: pages to give away, address spaces
#define WINDOW 0x3FE00000ul       // kernel addresses for pages of passing interest
struct space { entry *root, *companion; };
void *new_page(void);
unsigned pages_given(void);
entry *entry_of(entry *root, word address, int make);
void map(struct space *, word address, word page, word flags);
void unmap(struct space *, word address);
struct space new_space(void);
extern struct space kernel_space;

// disk.c
#define BLOCK 512u
unsigned disk_blocks(void);
int read_block(unsigned number, char *to);

// tasks.c: system calls, demand paging, scheduling
void add_task(unsigned program);
_Noreturn void run_tasks(void);
void user_trap(struct registers *);
extern void (*when_all_ended)(void);
extern volatile unsigned ticks;

// kernel.c: a trap the kernel waits for in its own code
struct expectation { word skip; unsigned seen; void (*mend)(word address); };
extern volatile struct expectation expected;

// operations.c: marks round what is measured
void operation_begins(void), operation_ends(void);
extern volatile unsigned operation_count;
_Noreturn void measure_operations(unsigned count);

// What programs.c may ask, and where things are in its space.
enum call { CALL_WRITE, CALL_YIELD, CALL_SLEEP, CALL_READ_BLOCK, CALL_EXIT, CALL_MARK, CALL_NOTHING };
// Times something is done before it is measured: a monitor may first have to get to know it.
#define WARM 100u
#define USER_SHARED (USER_BASE + 0x40000)
#define USER_HEAP (USER_BASE + 0x80000)
#define USER_HEAP_END (USER_BASE + 0xC0000)
#define USER_STACK (USER_BASE + 0x100000)
#endif
