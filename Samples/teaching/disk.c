// A disk in memory, read block by block through a window of one page.
#include "kernel.h"

unsigned disk_blocks(void) { return (unsigned)(machine_disk().bytes / BLOCK); }

// Copies a block; 0 where there is none of that number.
int read_block(unsigned number, char *to) {
  if (number >= disk_blocks()) return 0;
  word at = (word)number * BLOCK;
  map(&kernel_space, WINDOW, machine_disk().page + at / PAGE * PAGE, 0);
  const char *from = (const char *)(WINDOW + at % PAGE);
  for (unsigned i = 0; i < BLOCK; i++) to[i] = from[i];
  unmap(&kernel_space, WINDOW);
  return 1;
}
