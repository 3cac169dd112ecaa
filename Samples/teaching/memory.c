// Pages and address spaces: walking and filling page tables, the same on every machine. What an entry holds, and how
// one is written, the layer below says.
#include "kernel.h"

#define POOL 160u
static char pool[POOL][PAGE] __attribute__((aligned(PAGE)));
static unsigned given;
struct space kernel_space;

// A page of zeros.
void *new_page(void) {
  if (given == POOL) {
    say("no pages are left\n");
    shut_down();
  }
  return pool[given++];
}

unsigned pages_given(void) { return given; }

static entry *new_table(void) {
  entry *page = new_page();
  make_table(page);
  return page;
}

// The PAE root's four entries have no rights of their own; elsewhere the leaf's decide.
static entry table_entry(const entry *table, int level) {
  entry value = entry_for((word)table) | PRESENT;
  return LEVELS == 3 && level == 3 ? value : value | WRITABLE | USER;
}

// The last-level entry for an address; with `make` its tables are made, else 0 where one is missing.
entry *entry_of(entry *root, word address, int make) {
  entry *table = root;
  for (int level = LEVELS; level > 1; level--) {
    entry *slot = &table[address >> (3 + 9 * level) & (LEVELS == 3 && level == 3 ? 3 : 511)];
    if (!(*slot & PRESENT)) {
      if (!make) return 0;
      set_entry(slot, table_entry(new_table(), level));
    }
    table = (entry *)page_behind(*slot);
  }
  return &table[address >> 12 & 511];
}

void map(struct space *space, word address, word page, word flags) {
  set_entry(entry_of(space->root, address, 1), entry_for(page) | PRESENT | flags);
  forget(address);
}

void unmap(struct space *space, word address) {
  set_entry(entry_of(space->root, address, 1), 0);
  forget(address);
}

// The kernel's own part, and nothing yet for programs but the tables that lead there.
struct space new_space(void) {
  struct space space = {new_table(), new_page()};
  for (unsigned slot = 0; slot < KERNEL_SLOTS; slot++)
    if (kernel_space.root[slot] & PRESENT) set_entry(&space.root[slot], kernel_space.root[slot]);
  entry_of(space.root, USER_BASE, 1);
  make_space(space.root, space.companion);
  return space;
}
