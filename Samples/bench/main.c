// The bench guest: reads what to measure from the Multiboot command line, measures, and prints a line
// `> name count` before and `name count cycles checksum` after each on COM1.
#include "machine.h"

uint8_t *arena = (uint8_t *)0x1000000;

static void put_char(char c) {
  while (!(in8(0x3FD) & 0x20)) {}
  out8(0x3F8, (uint8_t)c);
}

static void put_text(const char *text) {
  while (*text) put_char(*text++);
}

static void put_hex(uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) put_char("0123456789abcdef"[value >> shift & 15]);
}

// Long division by 16-bit steps: a 32-bit guest has no library for 64-bit division.
static void put_decimal(uint64_t value) {
  char digits[20];
  int used = 0;
  do {
    uint64_t quotient = 0;
    uint32_t rest = 0;
    for (int shift = 48; shift >= 0; shift -= 16) {
      rest = rest << 16 | (uint32_t)(value >> shift & 0xFFFF);
      quotient = quotient << 16 | rest / 10;
      rest %= 10;
    }
    digits[used++] = (char)('0' + rest);
    value = quotient;
  } while (value);
  while (used) put_char(digits[--used]);
}

static void measure(const struct kernel *kernel, uint32_t count) {
  if (kernel->prepare) kernel->prepare();
  put_text("> ");
  put_text(kernel->name);
  put_char(' ');
  put_decimal(count);
  put_char('\n');
  uint64_t begin = read_tsc();
  uint64_t checksum = kernel->run(count);
  uint64_t cycles = read_tsc() - begin;
  put_text(kernel->name);
  put_char(' ');
  put_decimal(count);
  put_char(' ');
  put_decimal(cycles);
  put_text(" 0x");
  put_hex(checksum);
  put_char('\n');
}

// A default count scaled to `percent`, at least 1.
static uint32_t scale(uint32_t count, uint32_t percent) {
  uint32_t scaled = count < 1000 ? count * percent / 100 : count / 100 * percent;
  return scaled ? scaled : 1;
}

static void measure_group(const struct kernel *kernels, unsigned count, uint32_t percent) {
  for (unsigned k = 0; k < count; k++) measure(&kernels[k], scale(kernels[k].count, percent));
}

// Does `word`, up to a blank, a colon or the end, say `name`?
static int says(const char *word, const char *name) {
  while (*name && *word == *name) word++, name++;
  return !*name && (*word == 0 || *word == ' ' || *word == ':');
}

// The number after the word's colon, or `otherwise`.
static uint32_t number_of(const char *word, uint32_t otherwise) {
  while (*word && *word != ' ' && *word != ':') word++;
  if (*word++ != ':' || *word < '0' || *word > '9') return otherwise;
  uint32_t value = 0;
  while (*word >= '0' && *word <= '9') value = value * 10 + (uint32_t)(*word++ - '0');
  return value ? value : 1;
}

static int measure_named(const char *word, const struct kernel *kernels, unsigned count, uint32_t percent) {
  for (unsigned k = 0; k < count; k++)
    if (says(word, kernels[k].name)) {
      measure(&kernels[k], number_of(word, scale(kernels[k].count, percent)));
      return 1;
    }
  return 0;
}

static void obey(const char *word, uint32_t *percent) {
  int all = says(word, "all");
  if (says(word, "x")) *percent = number_of(word, 100);
  else if (all || says(word, "priv") || says(word, "compute")) {
    if (all || says(word, "priv")) measure_group(privileged_kernels, privileged_kernel_count, *percent);
    if (all || says(word, "compute")) measure_group(compute_kernels, compute_kernel_count, *percent);
  } else if (!measure_named(word, privileged_kernels, privileged_kernel_count, *percent)
             && !measure_named(word, compute_kernels, compute_kernel_count, *percent)) {
    put_text("? ");
    while (*word && *word != ' ') put_char(*word++);
    put_char('\n');
  }
}

// Entered by the assembly with a stack, paging, GDT and TSS; returns to it for the end.
void main(void) {
  set_up_machine();
  put_text("bench start\n");
  uint32_t percent = 100;
  unsigned words = 0;
  const char *at = command_line();
  while (*at) {
    while (*at == ' ') at++;
    if (!*at) break;
    if (words++) obey(at, &percent);  // the first word is the program's name
    while (*at && *at != ' ') at++;
  }
  if (words < 2) obey("all", &percent);
  put_text("bench end\n");
}
