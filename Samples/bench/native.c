// The compute kernels as a Linux program: the checksums the guest must print, and what the processor
// itself needs for them. Words as for the guest: name[:count], compute, all; no word is all. It prints the guest's
// lines, so that the same reader times both.
#include "compute.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

uint8_t *arena;

static void measure(const struct kernel *kernel, uint32_t count) {
  if (kernel->prepare) kernel->prepare();
  printf("> %s %u\n", kernel->name, count);
  fflush(stdout);
  uint64_t begin = __rdtsc();
  uint64_t checksum = kernel->run(count);
  uint64_t cycles = __rdtsc() - begin;
  printf("%s %u %" PRIu64 " 0x%016" PRIx64 "\n", kernel->name, count, cycles, checksum);
  fflush(stdout);
}

int main(int argc, char **argv) {
  arena = aligned_alloc(64, ARENA_SIZE);
  if (!arena) return 1;
  memset(arena, 0, ARENA_SIZE);
  printf("bench start\n");
  // In the order of the words, as the guest takes them.
  for (int i = 1; i < argc || i == 1; i++) {
    const char *word = argc < 2 ? "all" : argv[i];
    int group = !strcmp(word, "all") || !strcmp(word, "compute");
    for (unsigned k = 0; k < compute_kernel_count; k++) {
      const struct kernel *kernel = &compute_kernels[k];
      size_t length = strlen(kernel->name);
      int named = !strncmp(word, kernel->name, length);
      if (group || (named && word[length] == 0)) measure(kernel, kernel->count);
      else if (named && word[length] == ':') measure(kernel, (uint32_t)strtoul(word + length + 1, NULL, 10));
    }
  }
  printf("bench end\n");
  return 0;
}
