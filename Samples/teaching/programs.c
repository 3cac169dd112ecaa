// The two programs, and one more for measuring; linked by themselves for USER_BASE, without data to be written.
#include "kernel.h"

static inline word ask(enum call number, word first, word second) {
  word result;
#ifdef __x86_64__
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
#else
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second) : "memory");
#endif
  return result;
}

static void tell(const char *text) {
  word length = 0;
  while (text[length]) length++;
  ask(CALL_WRITE, (word)text, length);
}

static volatile unsigned *const flag = (volatile unsigned *)USER_SHARED;

static void first(void) {
  tell("program 1: hello from ring 3\n");
  volatile char *heap = (volatile char *)USER_HEAP;
  for (unsigned page = 0; page < 3; page++) heap[page * PAGE] = (char)page;
  ask(CALL_YIELD, 0, 0);
  tell("program 1: I wait for the other and do not give up the processor\n");
  while (!*flag) {}
  tell("program 1: the timer took it from me, the other ran, and here I am again\n");
  ask(CALL_SLEEP, 2, 0);
  tell("program 1: slept for two ticks; now I read the kernel's memory\n");
  (void)*(volatile char *)0x100000;
  tell("program 1: and was let to\n");
  ask(CALL_EXIT, 0, 0);
}

static void second(void) {
  tell("program 2: hello from ring 3\n");
  ask(CALL_YIELD, 0, 0);
  char *block = (char *)USER_HEAP;
  word length = 0;
  *block = 0;
  if (ask(CALL_READ_BLOCK, 1, (word)block) == BLOCK)
    while (length < BLOCK && block[length]) length++;
  tell("program 2: block 1 of the disk says: ");
  ask(CALL_WRITE, (word)block, length);
  *flag = 1;
  tell("program 2: now I halt the processor\n");
  __asm__ volatile("hlt");
  tell("program 2: and was let to\n");
  ask(CALL_EXIT, 0, 0);
}

// System calls one after the other, as many as are to be measured.
__attribute__((noinline)) static void call_often(word count) {
  while (count--) ask(CALL_NOTHING, 0, 0);
}

static void calls(void) {
  call_often(WARM);
  call_often(ask(CALL_MARK, 0, 0));
  ask(CALL_MARK, 1, 0);
  ask(CALL_EXIT, 0, 0);
}

void (*const program_table[])(void) __attribute__((section(".table"))) = {first, second, calls};
