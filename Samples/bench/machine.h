// What the bench guest's parts know of each other and of the machine.
#ifndef MACHINE_H
#define MACHINE_H
#include "compute.h"

extern const struct kernel privileged_kernels[];
extern const unsigned privileged_kernel_count;

// Fills the IDT and, in 64-bit mode, the SYSCALL registers.
void set_up_machine(void);
// The Multiboot command line, or "".
const char *command_line(void);

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint64_t read_tsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}
static inline uint64_t read_msr(uint32_t index) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return (uint64_t)high << 32 | low;
}
static inline void write_msr(uint32_t index, uint64_t value) {
  __asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

#endif
