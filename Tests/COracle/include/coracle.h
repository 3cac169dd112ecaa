// Runs instruction bytes on the host's own processor, in a child that can make no system call.
#ifndef CORACLE_H
#define CORACLE_H
#include <stdint.h>
#endif
