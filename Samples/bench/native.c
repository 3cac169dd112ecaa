// The compute kernels as a Linux program: the checksums the guest must print, and what the processor
// itself needs for them. Words as for the guest: name[:count], all; no word is all.
#include "compute.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

uint8_t *arena;

static void measure(const struct kernel *kernel, uint32_t count) {
  if (kernel->prepare) kernel->prepare();
  uint64_t begin = __rdtsc();
  uint64_t checksum = kernel->run(count);
  uint64_t cycles = __rdtsc() - begin;
  printf("%s %u %" PRIu64 " 0x%016" PRIx64 "\n", kernel->name, count, cycles, checksum);
}

int main(int argc, char **argv) {
  arena = aligned_alloc(64, ARENA_SIZE);
  if (!arena) return 1;
  memset(arena, 0, ARENA_SIZE);
  for (unsigned k = 0; k < compute_kernel_count; k++) {
    const struct kernel *kernel = &compute_kernels[k];
    size_t length = strlen(kernel->name);
    if (argc < 2) measure(kernel, kernel->count);
    for (int i = 1; i < argc; i++) {
      if (!strcmp(argv[i], "all")) measure(kernel, kernel->count);
      else if (!strncmp(argv[i], kernel->name, length)) {
        if (argv[i][length] == 0) measure(kernel, kernel->count);
        if (argv[i][length] == ':') measure(kernel, (uint32_t)strtoul(argv[i] + length + 1, NULL, 10));
      }
    }
  }
  return 0;
}
