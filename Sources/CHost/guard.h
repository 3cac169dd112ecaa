#ifndef CHOST_GUARD_H
#define CHOST_GUARD_H

/// In a signal's handler: opens what is under our protection key, where there is one. The kernel runs handlers with
/// the first key's rights alone (pkeys(7)); those from before come back with the handler's return.
void chost_guard_open(void) __attribute__((visibility("hidden")));

#endif
