// The privileged and sensitive operations, each `count` times around.
#include "machine.h"

#include <stddef.h>

#ifdef __x86_64__
#define GATE_WORDS 4
typedef uint64_t entry_t;  // of a page table
#else
#define GATE_WORDS 2
typedef uint32_t entry_t;
#endif
#define GATE_INTERRUPT 0x8E00u
#define GATE_USER 0xEE00u
#define KERNEL_CS 0x08u
#define MSR_EFER 0xC0000080u
#define MSR_STAR 0xC0000081u
#define MSR_LSTAR 0xC0000082u
#define MSR_KERNEL_GS_BASE 0xC0000102u
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define WINDOW ((volatile uint32_t *)0x30000000)
#define LAPIC_ID ((volatile uint32_t *)0xFEE00020)
#define SCREEN ((volatile uint16_t *)0xB8000)
#define PTE_PRESENT_WRITABLE_USER 7

// From the assembly.
extern uint32_t idt[256 * GATE_WORDS];
extern uint8_t gdt_pointer[];
extern uint32_t multiboot_info;
extern volatile entry_t window_table[512];
extern uint32_t page_zero[1024], page_one[1024];
extern uint64_t per_cpu[2];
extern uint8_t system_stack_top[];
void skip_two(void), skip_two_with_code(void), restore_page(void), return_at_once(void), unexpected(void);
void sysret_at_once(void), sysret_with_stack(void);
void come_back(void), user_syscall(void), user_sysenter(void), user_int80(void), user_divzero(void), user_pageskip(void);
void run_in_ring3(void (*code)(void), uint32_t count);
void loop_iret(uint32_t count), loop_callret(uint32_t count), loop_icallret(uint32_t count);
void loop_farcall(uint32_t count), loop_segload(uint32_t count), loop_pageskip(uint32_t count);
uint32_t loop_smc(uint32_t count);

static void set_gate(unsigned vector, void (*handler)(void), uint32_t type) {
  uint64_t address = (uintptr_t)handler;
  uint32_t *gate = idt + vector * GATE_WORDS;
  gate[0] = KERNEL_CS << 16 | (uint32_t)(address & 0xFFFF);
  gate[1] = (uint32_t)(address & 0xFFFF0000) | type;
#ifdef __x86_64__
  gate[2] = (uint32_t)(address >> 32);
#endif
}

void set_up_machine(void) {
  for (unsigned vector = 0; vector < 32; vector++) set_gate(vector, unexpected, GATE_INTERRUPT);
  set_gate(0, skip_two, GATE_INTERRUPT);
  set_gate(6, skip_two, GATE_INTERRUPT);
  set_gate(14, restore_page, GATE_INTERRUPT);
  set_gate(0x80, return_at_once, GATE_USER);
  set_gate(0x81, come_back, GATE_USER);
#ifdef __x86_64__
  write_msr(MSR_STAR, (uint64_t)0x100008 << 32);
  write_msr(MSR_LSTAR, (uintptr_t)sysret_at_once);
#endif
}

const char *command_line(void) {
  uint32_t address = *(uint32_t *)(uintptr_t)(multiboot_info + 16);
  return address ? (const char *)(uintptr_t)address : "";
}

// A test whose body is one or more statements, done `count` times; its checksum is 0.
#define TEST(name, body)                          \
  static uint64_t test_##name(uint32_t count) {   \
    for (uint32_t i = 0; i < count; i++) { body } \
    return 0;                                     \
  }

#define TEST_CALL(name, call)                   \
  static uint64_t test_##name(uint32_t count) { \
    call;                                       \
    return 0;                                   \
  }

TEST_CALL(int80, run_in_ring3(user_int80, count))
TEST_CALL(iret, loop_iret(count))
TEST_CALL(callret, loop_callret(count))
TEST_CALL(icallret, loop_icallret(count))
TEST_CALL(udivzero, run_in_ring3(user_divzero, count))
TEST_CALL(segload, loop_segload(count))
TEST(in, in8(0x21);)
TEST(in61, in8(0x61);)
TEST(out, out8(0x80, (uint8_t)i);)
TEST(mmio, (void)*LAPIC_ID;)
TEST(vga, SCREEN[i % 2000] = (uint16_t)(0x700 | (i & 0x7F));)
TEST(invlpg, __asm__ volatile("invlpg %0" : : "m"(*WINDOW) : "memory");)
TEST(divzero, __asm__ volatile("divl %%ecx" : : "a"(1), "c"(0), "d"(0) : "cc");)
TEST(ud2, __asm__ volatile("ud2" : : : "memory");)
TEST(clts, __asm__ volatile("clts" : : : "memory");)
TEST(ptewr, window_table[2] = (entry_t)i << 12;)
TEST(cpuid, uint32_t a = 0; __asm__ volatile("cpuid" : "+a"(a) : : "ebx", "ecx", "edx");)
TEST(rdtsc, read_tsc();)
TEST(clisti, __asm__ volatile("cli; sti; cli" : : : "memory");)
TEST(lgdt, __asm__ volatile("lgdt (%0)" : : "r"(gdt_pointer) : "memory");)

#ifdef __x86_64__
TEST_CALL(syscall, run_in_ring3(user_syscall, count))
TEST(cr0rd, uint64_t value; __asm__ volatile("mov %%cr0, %0" : "=r"(value) : : "memory");)
TEST(cr8wr, __asm__ volatile("mov %0, %%cr8" : : "r"((uint64_t)(i & 15)) : "memory");)
TEST(cr3wr, uint64_t root; __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(root) : : "memory");)
TEST(pushpopf, __asm__ volatile("pushfq; popfq" : : : "memory", "cc");)
TEST(rdmsr, read_msr(MSR_EFER);)
TEST(wrmsr, write_msr(MSR_KERNEL_GS_BASE, i);)
TEST(swapgs, __asm__ volatile("swapgs; swapgs" : : : "memory");)
#else
TEST_CALL(sysenter, run_in_ring3(user_sysenter, count))
TEST_CALL(farcall, loop_farcall(count))
TEST(cr0rd, uint32_t value; __asm__ volatile("mov %%cr0, %0" : "=r"(value) : : "memory");)
TEST(cr3wr, uint32_t root; __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(root) : : "memory");)
TEST(pushpopf, __asm__ volatile("pushfl; popfl" : : : "memory", "cc");)
TEST(rdmsr, read_msr(MSR_SYSENTER_CS);)
TEST(wrmsr, write_msr(MSR_SYSENTER_ESP, i);)
#endif

static void set_window(const uint32_t *page) {
  window_table[0] = page ? (entry_t)(uintptr_t)page | PTE_PRESENT_WRITABLE_USER : 0;
  __asm__ volatile("invlpg %0" : : "m"(*WINDOW) : "memory");
}

// Takes a page away and touches it: the handler puts it back. The checksum counts what was read.
static uint64_t test_pgfault(uint32_t count) {
  uint64_t sum = 0;
  page_zero[0] = 3;
  for (uint32_t i = 0; i < count; i++) {
    set_window(NULL);
    sum += *WINDOW;
  }
  return sum;
}

// Maps one page and the other by turns.
static uint64_t test_ptemod(uint32_t count) {
  uint64_t sum = 0;
  page_zero[0] = 1;
  page_one[0] = 2;
  for (uint32_t i = 0; i < count; i++) {
    set_window(i & 1 ? page_one : page_zero);
    sum += *WINDOW;
  }
  return sum;
}

// A load from a missing page, passed over by the handler: in ring 0 and in ring 3.
static uint64_t test_pfskip(uint32_t count) {
  set_gate(14, skip_two_with_code, GATE_INTERRUPT);
  loop_pageskip(count);
  set_gate(14, restore_page, GATE_INTERRUPT);
  return 0;
}

static uint64_t test_upfskip(uint32_t count) {
  set_gate(14, skip_two_with_code, GATE_INTERRUPT);
  run_in_ring3(user_pageskip, count);
  set_gate(14, restore_page, GATE_INTERRUPT);
  return 0;
}

#ifdef __x86_64__
static uint64_t test_syscallos(uint32_t count) {
  per_cpu[0] = (uintptr_t)system_stack_top;
  write_msr(MSR_KERNEL_GS_BASE, (uintptr_t)per_cpu);
  write_msr(MSR_LSTAR, (uintptr_t)sysret_with_stack);
  run_in_ring3(user_syscall, count);
  write_msr(MSR_LSTAR, (uintptr_t)sysret_at_once);
  return 0;
}
#endif

static uint64_t test_smc(uint32_t count) { return loop_smc(count); }

const struct kernel privileged_kernels[] = {
#ifdef __x86_64__
  {"syscall", 200000, NULL, test_syscall},
  {"syscallos", 200000, NULL, test_syscallos},
#else
  {"sysenter", 200000, NULL, test_sysenter},
  {"farcall", 200000, NULL, test_farcall},
#endif
  {"int80", 100000, NULL, test_int80},
  {"iret", 100000, NULL, test_iret},
  {"in", 100000, NULL, test_in},
  {"in61", 100000, NULL, test_in61},
  {"out", 100000, NULL, test_out},
  {"mmio", 100000, NULL, test_mmio},
  {"vga", 100000, NULL, test_vga},
#ifdef __x86_64__
  {"cr8wr", 100000, NULL, test_cr8wr},
#endif
  {"cr0rd", 200000, NULL, test_cr0rd},
  {"clts", 100000, NULL, test_clts},
  {"cr3wr", 50000, NULL, test_cr3wr},
  {"invlpg", 100000, NULL, test_invlpg},
  {"callret", 1000000, NULL, test_callret},
  {"icallret", 1000000, NULL, test_icallret},
  {"divzero", 50000, NULL, test_divzero},
  {"udivzero", 50000, NULL, test_udivzero},
  {"ud2", 50000, NULL, test_ud2},
  {"pfskip", 50000, NULL, test_pfskip},
  {"upfskip", 50000, NULL, test_upfskip},
  {"pgfault", 50000, NULL, test_pgfault},
  {"ptemod", 100000, NULL, test_ptemod},
  {"ptewr", 200000, NULL, test_ptewr},
  {"cpuid", 100000, NULL, test_cpuid},
  {"rdtsc", 200000, NULL, test_rdtsc},
  {"pushpopf", 200000, NULL, test_pushpopf},
  {"clisti", 200000, NULL, test_clisti},
  {"rdmsr", 100000, NULL, test_rdmsr},
  {"wrmsr", 100000, NULL, test_wrmsr},
#ifdef __x86_64__
  {"swapgs", 200000, NULL, test_swapgs},
#endif
  {"segload", 200000, NULL, test_segload},
  {"lgdt", 100000, NULL, test_lgdt},
  {"smc", 20000, NULL, test_smc},
};
const unsigned privileged_kernel_count = sizeof privileged_kernels / sizeof privileged_kernels[0];
