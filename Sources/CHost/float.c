#define _GNU_SOURCE
#include "chost_float.h"
#include "guard.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

// Where guarded calls return to, as distances from the entries themselves; 0 ends the list (float.S).
extern const int32_t chost_float_returns[] __attribute__((visibility("hidden")));

static struct sigaction previous;

static void handler(int signal, siginfo_t *info, void *context) {
  (void)info;
  greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
  chost_guard_open();
  // The instruction faulted in a function that has pushed nothing: its return address is on top.
  uintptr_t top = *(const uintptr_t *)g[REG_RSP];
  for (const int32_t *entry = chost_float_returns; *entry; entry++) {
    if (top != (uintptr_t)entry + (uintptr_t)(intptr_t)*entry) continue;
    g[REG_RIP] = (greg_t)top;
    g[REG_RSP] += 8;
    return;
  }
  // Not ours: it is raised again as if there were no handler.
  sigaction(signal, &previous, NULL);
}

static void begin(void) {
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  sigaction(SIGFPE, &action, &previous);
}

void chost_float_begin(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, begin);
}
