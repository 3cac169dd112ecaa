// The terminal as ncurses knows it (its terminfo half), and the one thing Swift must not do: touch the
// terminal from a signal handler. Functions return a non-negative result or -errno.
#ifndef CNCURSES_H
#define CNCURSES_H
#include <stddef.h>
#include <stdint.h>
#pragma clang assume_nonnull begin

/// Loads the description of terminal `name` (setupterm). -ENOENT if ncurses has none.
int cncurses_setup(const char *name);
/// A string capability, or NULL where the terminal has none. Valid until the next setup.
const char *_Nullable cncurses_string(const char *capability);
/// A string capability with up to two parameters filled in (tiparm), or NULL. Valid until the next call.
const char *_Nullable cncurses_parameterized(const char *capability, int first, int second);
/// A numeric capability, -1 where there is none.
int cncurses_number(const char *capability);
/// A boolean capability.
int cncurses_flag(const char *capability);

/// Puts the terminal `descriptor` into raw mode and remembers how it was.
int cncurses_raw(int descriptor);
/// What is written to the terminal when it is given back; copied, at most 512 bytes.
void cncurses_set_restore(const char *bytes, size_t count);
/// Gives the terminal back: restore bytes and the remembered mode. Async-signal-safe; does nothing when
/// the terminal is not ours at the moment.
void cncurses_restore(void);

/// Installs the handlers: SIGWINCH, SIGTSTP, SIGCONT, and once each SIGTERM, SIGHUP, SIGINT and SIGQUIT
/// put the signal's number into the pipe `wake`; the second time these restore the terminal and end the
/// program. SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGTRAP restore the terminal and go on to
/// whoever handled them before.
int cncurses_install_handlers(int wake);
/// Puts back the handlers that were there before.
void cncurses_remove_handlers(void);
/// Rows and columns of the terminal as the kernel knows them.
int cncurses_size(int descriptor, int *rows, int *columns);

#pragma clang assume_nonnull end
#endif
