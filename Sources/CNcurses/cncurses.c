#define _GNU_SOURCE
#include "cncurses.h"
#include <curses.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

int cncurses_setup(const char *name) {
  int status = 0;
  return setupterm(name, 1, &status) == OK ? 0 : -ENOENT;
}

const char *cncurses_string(const char *capability) {
  const char *value = tigetstr(capability);
  return value == (const char *)-1 ? NULL : value;
}

const char *cncurses_parameterized(const char *capability, int first, int second) {
  const char *value = cncurses_string(capability);
  return value ? tparm(value, (long)first, (long)second, 0L, 0L, 0L, 0L, 0L, 0L, 0L) : NULL;
}

int cncurses_number(const char *capability) {
  int value = tigetnum(capability);
  return value < 0 ? -1 : value;
}

int cncurses_flag(const char *capability) { return tigetflag(capability) > 0; }

// Invariant: everything below that a handler reads is written before `held` becomes 1, by the one thread
// that owns the terminal, or while the handlers are not installed.
static volatile sig_atomic_t held;
static int terminal_descriptor = -1;
static struct termios remembered;
static char restore_bytes[512];
static size_t restore_count;
static int wake_descriptor = -1;

int cncurses_raw(int descriptor) {
  struct termios mode;
  if (!held && tcgetattr(descriptor, &remembered) < 0) return -errno;
  mode = remembered;
  cfmakeraw(&mode);
  mode.c_cc[VMIN] = 0;
  mode.c_cc[VTIME] = 0;
  if (tcsetattr(descriptor, TCSADRAIN, &mode) < 0) return -errno;
  terminal_descriptor = descriptor;
  held = 1;
  return 0;
}

void cncurses_set_restore(const char *bytes, size_t count) {
  restore_count = count < sizeof restore_bytes ? count : sizeof restore_bytes;
  memcpy(restore_bytes, bytes, restore_count);
}

void cncurses_restore(void) {
  if (!held) return;
  held = 0;
  size_t done = 0;
  while (done < restore_count) {
    ssize_t n = write(STDOUT_FILENO, restore_bytes + done, restore_count - done);
    if (n <= 0) break;
    done += (size_t)n;
  }
  tcsetattr(terminal_descriptor, TCSANOW, &remembered);
}

enum { signal_limit = 32 };
static struct sigaction before[signal_limit];
static volatile sig_atomic_t asked[signal_limit];
static const int polite[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
static const int notices[] = {SIGWINCH, SIGTSTP, SIGCONT};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void tell(int signal_number) {
  int saved = errno;
  unsigned char byte = (unsigned char)signal_number;
  ssize_t ignored = write(wake_descriptor, &byte, 1);
  (void)ignored;
  errno = saved;
}

static void on_polite(int signal_number) {
  if (!asked[signal_number]) {
    asked[signal_number] = 1;
    tell(signal_number);
    return;
  }
  cncurses_restore();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

static void on_crash(int signal_number, siginfo_t *info, void *context) {
  (void)context;
  cncurses_restore();
  // Not the handler from before: Swift's backtracer would ask a question on the terminal and wait.
  signal(signal_number, SIG_DFL);
  // A fault happens again on return; a signal that was sent must be sent again.
  if (info->si_code <= 0 || signal_number == SIGTRAP || signal_number == SIGABRT) raise(signal_number);
}

int cncurses_install_handlers(int wake) {
  wake_descriptor = wake;
  static char *alternate;
  if (!alternate) {
    alternate = malloc(65536);
    if (!alternate) return -ENOMEM;
    stack_t stack = {.ss_sp = alternate, .ss_size = 65536};
    if (sigaltstack(&stack, NULL) < 0) return -errno;
  }
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = tell;
  for (size_t i = 0; i < COUNT(notices); i++) sigaction(notices[i], &action, &before[notices[i]]);
  action.sa_handler = on_polite;
  for (size_t i = 0; i < COUNT(polite); i++) {
    asked[polite[i]] = 0;
    sigaction(polite[i], &action, &before[polite[i]]);
  }
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_sigaction = on_crash;
  for (size_t i = 0; i < COUNT(crashes); i++) sigaction(crashes[i], &action, &before[crashes[i]]);
  return 0;
}

void cncurses_remove_handlers(void) {
  for (size_t i = 0; i < COUNT(notices); i++) sigaction(notices[i], &before[notices[i]], NULL);
  for (size_t i = 0; i < COUNT(polite); i++) sigaction(polite[i], &before[polite[i]], NULL);
  for (size_t i = 0; i < COUNT(crashes); i++) sigaction(crashes[i], &before[crashes[i]], NULL);
}

int cncurses_size(int descriptor, int *height, int *width) {
  struct winsize size;
  if (ioctl(descriptor, TIOCGWINSZ, &size) < 0) return -errno;
  *height = size.ws_row;
  *width = size.ws_col;
  return 0;
}
