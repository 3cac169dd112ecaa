// What Swift cannot say itself: system calls and fault handling behind small, prefixed functions.
// Every function returns a non-negative result or -errno.
#ifndef CHOST_H
#define CHOST_H
#include "chost_kvm.h"
#endif
