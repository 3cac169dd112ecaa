// The part of Xen's ABI that the ported kernel uses (Xen public/xen.h and its neighbours); with `word` for an
// unsigned long the same declarations hold for 64 and for 32 bits.
#ifndef XEN_H
#define XEN_H
#include "machine.h"

#define SET_TRAP_TABLE 0
#define MMU_UPDATE 1
#define STACK_SWITCH 3
#define SET_CALLBACKS 4
#define UPDATE_VA_MAPPING 14
#define CONSOLE_IO 18
#define VCPU_OP 24
#define MMUEXT_OP 26
#define SCHED_OP 29
#define EVENT_CHANNEL_OP 32
#define PHYSDEV_OP 33

#define SCHED_YIELD 0
#define SCHED_BLOCK 1
#define SCHED_SHUTDOWN 2
#define EVENT_BIND_VIRQ 1
#define EVENT_SEND 4
#define VCPU_SET_TIMER 8
#define VCPU_STOP_TIMER 9
#define PHYSDEV_SET_IOPL 6
#define MMUEXT_PIN_L3 2
#define MMUEXT_PIN_L4 3
#define MMUEXT_NEW_BASE 5
#define MMUEXT_INVALIDATE 7
#define MMUEXT_NEW_USER_BASE 15
#define INVALIDATE_LOCALLY 2      // flag of update_va_mapping
#define DOMAIN_SELF 0x7FF0u
#define INITIAL_DOMAIN 2u         // flag of start_info: Xen itself writes what this domain says

struct start_info {
  char magic[32];
  word pages, shared_info;
  uint32_t flags;
  word store_frame;
  uint32_t store_port;
  word console_frame;
  uint32_t console_port;
  word table_base, table_frames, frame_list, module_start, module_size;
  char command_line[1024];
};

// The time at some moment, and how the processor's counter goes on from there.
struct time_info {
  volatile uint32_t version, unused;
  volatile uint64_t counter, nanoseconds;
  volatile uint32_t factor;       // ns for each 2^32 counts, once shifted
  volatile int8_t shift, flags;
  uint8_t rest[2];
};

struct vcpu_info {
  volatile uint8_t pending, masked;
  volatile word selector, cr2;
  uint8_t rest[32 - 3 * sizeof(word)];
  struct time_info time;
};

struct shared_info {
  struct vcpu_info vcpu[32];
  volatile word pending[8 * sizeof(word)], masked[8 * sizeof(word)];
};

struct console_ring {
  char in[1024], out[2048];
  volatile uint32_t in_consumer, in_producer, out_consumer, out_producer;
};

struct trap_handler {
  uint8_t vector, flags;          // 1:0 ring that may call it by INT, 2 masks events
  uint16_t cs;
  word address;
};

struct table_update { uint64_t at, value; };
struct extended_op { uint32_t command; word first, second; };

#ifdef __x86_64__
#define MACHINE_TO_PHYSICAL 0xFFFF800000000000ul
#define KERNEL_CS 0xE033u
#define KERNEL_SS 0xE02Bu
#define PROGRAM_CS 0xE033u
#define PROGRAM_SS 0xE02Bu
#define PIN_ROOT MMUEXT_PIN_L4
static inline long hypercall(word number, word a, word b, word c, word d) {
  long result;
  register word fourth __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth) : "a"(number) : "rcx", "r11", "memory");
  return result;
}
#else
#define MACHINE_TO_PHYSICAL 0xF5800000ul
#define KERNEL_CS 0xE019u
#define KERNEL_SS 0xE021u
#define PROGRAM_CS 0xE02Bu
#define PROGRAM_SS 0xE033u
#define PIN_ROOT MMUEXT_PIN_L3
static inline long hypercall(word number, word a, word b, word c, word d) {
  long result;
  __asm__ volatile("int $0x82" : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d) : "a"(number) : "memory");
  return result;
}
#endif
#endif
