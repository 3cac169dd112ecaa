#include "compute.h"

#include <stddef.h>

// A small linear congruential generator: data, not randomness.
static uint32_t seed;
static uint32_t next_random(void) {
  seed = seed * 1664525u + 1013904223u;
  return seed >> 8;
}

// Register arithmetic: shifts, adds, a multiply and a branch, no memory.
static uint64_t intloop(uint32_t count) {
  uint64_t a = 0x9E3779B97F4A7C15u, b = 1;
  for (uint32_t i = 0; i < count; i++) {
    a ^= a << 13;
    a ^= a >> 7;
    a ^= a << 17;
    b = b * 31 + (uint32_t)a;
    if (a & 4) b += i;
  }
  return a ^ b;
}

// Eratosthenes over a million bytes: strided stores.
#define SIEVE_LIMIT 1000000u
static uint64_t sieve(uint32_t count) {
  uint8_t *composite = arena;
  uint32_t primes = 0;
  for (uint32_t round = 0; round < count; round++) {
    primes = 0;
    for (uint32_t i = 0; i < SIEVE_LIMIT; i++) composite[i] = 0;
    for (uint32_t i = 2; i < SIEVE_LIMIT; i++) {
      if (composite[i]) continue;
      primes++;
      if (i > 1000) continue;
      for (uint32_t j = i * i; j < SIEVE_LIMIT; j += i) composite[j] = 1;
    }
  }
  return primes;
}

// SHA-256 (FIPS 180-4, 6.2) of 256 KiB: rotates and adds.
static uint32_t sha_constants[64];
static uint32_t sha_initial[8];

// The constants are the first bits of the fractional parts of roots of primes: found by bisection on
// integers, so that no floating point comes in.
static uint32_t root_fraction(uint32_t prime, int power) {
  // The largest x with (x / 2^32)^power <= prime, compared as 128-bit products in 32-bit limbs.
  uint64_t low = 0, high = (uint64_t)32 << 32;
  while (high - low > 1) {
    uint64_t middle = low + (high - low) / 2;
    uint32_t factor[2] = {(uint32_t)middle, (uint32_t)(middle >> 32)};
    uint32_t product[6] = {factor[0], factor[1], 0, 0, 0, 0};
    for (int p = 1; p < power; p++) {
      uint32_t result[6] = {0};
      for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 2; j++) {
          carry += (uint64_t)product[i] * factor[j] + result[i + j];
          result[i + j] = (uint32_t)carry;
          carry >>= 32;
        }
        for (int j = i + 2; j < 6 && carry; j++) {
          carry += result[j];
          result[j] = (uint32_t)carry;
          carry >>= 32;
        }
      }
      for (int i = 0; i < 6; i++) product[i] = result[i];
    }
    int above = power == 2 ? product[3] != 0 || product[2] >= prime : product[4] != 0 || product[3] >= prime;
    if (above) high = middle; else low = middle;
  }
  return (uint32_t)low;
}

static void sha_prepare(void) {
  uint32_t prime = 1;
  for (int i = 0; i < 64; i++) {
    int divisible;
    do {
      prime++;
      divisible = 0;
      for (uint32_t d = 2; d * d <= prime; d++) divisible |= prime % d == 0;
    } while (divisible);
    sha_constants[i] = root_fraction(prime, 3);
    if (i < 8) sha_initial[i] = root_fraction(prime, 2);
  }
  seed = 1;
  for (uint32_t i = 0; i < 262144; i++) arena[i] = (uint8_t)next_random();
}

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)block[i * 4] << 24 | (uint32_t)block[i * 4 + 1] << 16 | (uint32_t)block[i * 4 + 2] << 8
      | block[i * 4 + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  for (int i = 0; i < 8; i++) v[i] = state[i];
  for (int i = 0; i < 64; i++) {
    uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_constants[i] + w[i];
    uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    for (int j = 7; j > 0; j--) v[j] = v[j - 1];
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

static uint64_t sha256(uint32_t count) {
  uint32_t state[8];
  for (uint32_t round = 0; round < count; round++) {
    for (int i = 0; i < 8; i++) state[i] = sha_initial[i];
    for (uint32_t at = 0; at < 262144; at += 64) sha_block(state, arena + at);
    uint8_t last[64] = {0x80};  // 256 KiB = 2^21 bits
    last[61] = 0x20;
    sha_block(state, last);
  }
  return count ? (uint64_t)state[0] << 32 | state[1] : 0;
}

// Copies of 4 MiB, by a loop of words and by one string instruction.
#define COPY_SIZE (4u << 20)
static void copy_prepare(void) {
  uint32_t *source = (uint32_t *)(void *)arena;
  seed = 2;
  for (uint32_t i = 0; i < COPY_SIZE / 4; i++) source[i] = next_random();
}

static uint64_t copy_checksum(void) {
  const uint32_t *copy = (const uint32_t *)(const void *)(arena + COPY_SIZE);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < COPY_SIZE / 4; i += 16) sum = sum * 33 + copy[i];
  return sum;
}

static uint64_t copy_by_words(uint32_t count) {
  for (uint32_t round = 0; round < count; round++) {
    const volatile size_t *source = (const volatile size_t *)(const void *)arena;
    volatile size_t *target = (volatile size_t *)(void *)(arena + COPY_SIZE);
    for (uint32_t i = 0; i < COPY_SIZE / sizeof(size_t); i++) target[i] = source[i];
  }
  return copy_checksum();
}

static uint64_t copy_by_string(uint32_t count) {
  for (uint32_t round = 0; round < count; round++) {
    const uint8_t *source = arena;
    uint8_t *target = arena + COPY_SIZE;
    size_t left = COPY_SIZE / 4;
    __asm__ volatile("rep movsl" : "+S"(source), "+D"(target), "+c"(left) : : "memory");
  }
  return copy_checksum();
}

// Doubles (SSE2): products of two 64 x 64 matrices of small whole numbers, so that the sum is exact.
#define MATRIX 64
static uint64_t matmul(uint32_t count) {
  double *a = (double *)(void *)arena, *b = a + MATRIX * MATRIX, *c = b + MATRIX * MATRIX;
  for (int i = 0; i < MATRIX * MATRIX; i++) {
    a[i] = i % 7;
    b[i] = i % 5 - 2;
  }
  double sum = 0;
  for (uint32_t round = 0; round < count; round++)
    for (int i = 0; i < MATRIX; i++)
      for (int j = 0; j < MATRIX; j++) {
        double dot = 0;
        for (int k = 0; k < MATRIX; k++) dot += a[i * MATRIX + k] * b[k * MATRIX + j];
        c[i * MATRIX + j] = dot;
      }
  for (int i = 0; i < MATRIX * MATRIX; i++) sum += c[i] * (i % 3 + 1);
  return (uint64_t)(int64_t)(int32_t)sum;
}

// Quicksort of 100,000 words: unforeseeable branches.
#define SORT_COUNT 100000
static __attribute__((noinline)) void quicksort(uint32_t *from, uint32_t *to) {
  while (to - from > 12) {
    uint32_t pivot = from[(to - from) / 2];
    uint32_t *left = from, *right = to - 1;
    while (left <= right) {
      while (*left < pivot) left++;
      while (*right > pivot) right--;
      if (left > right) break;
      uint32_t swapped = *left;
      *left++ = *right;
      *right-- = swapped;
    }
    quicksort(from, right + 1);
    from = left;
  }
  for (uint32_t *i = from + 1; i < to; i++) {
    uint32_t value = *i, *hole = i;
    for (; hole > from && hole[-1] > value; hole--) *hole = hole[-1];
    *hole = value;
  }
}

static uint64_t sort(uint32_t count) {
  uint32_t *values = (uint32_t *)(void *)arena;
  uint64_t sum = 0;
  for (uint32_t round = 0; round < count; round++) {
    seed = 3;
    for (uint32_t i = 0; i < SORT_COUNT; i++) values[i] = next_random();
    quicksort(values, values + SORT_COUNT);
  }
  for (uint32_t i = 0; i < SORT_COUNT; i++) sum = sum * 31 + values[i];
  return sum;
}

// A bytecode interpreter with one indirect jump an operation.
static uint64_t interp(uint32_t count) {
  enum { push, add, multiply, exchange, count_down, halt };
  static const uint8_t program[] = {push, 7, add, push, 3, multiply, exchange, push, 1, add, exchange, count_down, 0, halt};
  static const void *const operations[] = {&&do_push, &&do_add, &&do_multiply, &&do_exchange, &&do_count_down, &&do_halt};
  uint64_t total = 0;
  for (uint32_t round = 0; round < count; round++) {
    uint32_t stack[8] = {0, round}, loops = 20000, taken;
    unsigned top = 2;
    const uint8_t *pc = program;
#define NEXT goto *operations[*pc++]
    NEXT;
  do_push: stack[top++ & 7] = *pc++; NEXT;
  do_add: top--; stack[(top - 1) & 7] += stack[top & 7]; NEXT;
  do_multiply: top--; stack[(top - 1) & 7] *= stack[top & 7]; NEXT;
  do_exchange:
    taken = stack[(top - 1) & 7];
    stack[(top - 1) & 7] = stack[(top - 2) & 7];
    stack[(top - 2) & 7] = taken;
    NEXT;
  do_count_down: pc++; if (--loops) pc = program + pc[-1]; NEXT;
  do_halt: total = total * 33 + stack[0] + stack[1];
#undef NEXT
  }
  return total;
}

// A chain of loads through 32 MiB, each address the result of the one before.
#define CHASE_NODES (1u << 19)
#define CHASE_STRIDE 16
static void chase_prepare(void) {
  uint32_t *nodes = (uint32_t *)(void *)arena;
  seed = 4;
  for (uint32_t i = 0; i < CHASE_NODES; i++) nodes[i * CHASE_STRIDE] = i;
  for (uint32_t i = CHASE_NODES - 1; i > 0; i--) {  // Sattolo: one cycle through all
    uint32_t j = next_random() % i;
    uint32_t swapped = nodes[i * CHASE_STRIDE];
    nodes[i * CHASE_STRIDE] = nodes[j * CHASE_STRIDE];
    nodes[j * CHASE_STRIDE] = swapped;
  }
}

static uint64_t chase(uint32_t count) {
  const uint32_t *nodes = (const uint32_t *)(const void *)arena;
  uint32_t at = 0;
  for (uint32_t i = 0; i < count; i++) at = nodes[at * CHASE_STRIDE];
  return at;
}

// Calls and returns.
static __attribute__((noinline, noclone)) uint32_t fibonacci(uint32_t n) {
  __asm__ volatile("" : "+r"(n));  // keeps the compiler from unrolling the recursion away
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t fib(uint32_t count) {
  uint32_t result = 0;
  for (uint32_t round = 0; round < count; round++) result = fibonacci(20);
  return result;
}

const struct kernel compute_kernels[] = {
  {"intloop", 2000000, NULL, intloop},
  {"sieve", 2, NULL, sieve},
  {"sha256", 2, sha_prepare, sha256},
  {"memcpy", 4, copy_prepare, copy_by_words},
  {"repmovs", 4, copy_prepare, copy_by_string},
  {"matmul", 8, NULL, matmul},
  {"qsort", 2, NULL, sort},
  {"interp", 20, NULL, interp},
  {"ptrchase", 1000000, chase_prepare, chase},
  {"fib", 60, NULL, fib},
};
const unsigned compute_kernel_count = sizeof compute_kernels / sizeof compute_kernels[0];
