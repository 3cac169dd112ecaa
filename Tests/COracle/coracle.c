#define _GNU_SOURCE
#include "coracle.h"

#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct channel {
  // Number of the batch asked for and of the last one done: futex words.
  uint32_t asked, done;
  int count;
  // Set up by the child: 1 ready, negative -errno.
  int ready;
  struct coracle_case cases[CORACLE_CASES];
  uint8_t data[CORACLE_CASES][CORACLE_DATA_BYTES];
};

static struct channel *channel;
static pid_t child;

// The child's own.
static int current = -1, ticking_case = -1;
static uint32_t ticking_batch;
// The last batch served.
static uint32_t served;
// The writable view of the code page, which cases see read-only.
static uint8_t *code_view;
// Room for the largest signal frame (AVX-512 and AMX states) and the handler.
static uint8_t alternate_stack[1 << 16] __attribute__((aligned(64)));

static long raw_syscall(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

static const int gpr_order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

enum { SELECTOR_CODE64 = 0x33, SELECTOR_CODE32 = 0x23, SELECTOR_DATA = 0x2B };
// LDT entries 0, 1, 2 with TI and RPL 3.
enum { SELECTOR_LDT32 = 0x07, SELECTOR_LDT16 = 0x0F, SELECTOR_LDT_DATA = 0x17, SELECTOR_LDT_DATA16 = 0x1F };

// The frame is an XSAVE area in the standard format as far as the system uses it: XSTATE_BV at 512, upper halves at 576.
// The kernel says in the reserved bytes from 464 on how far (struct _fpx_sw_bytes).
enum { XSTATE_BV = 512, UPPERS = 576, SW_MAGIC = 464, SW_FEATURES = 472, HAS_UPPERS = 4 };

static int has_uppers(const struct _libc_fpstate *f) {
  uint32_t magic;
  uint64_t features;
  memcpy(&magic, (const uint8_t *)f + SW_MAGIC, 4);
  memcpy(&features, (const uint8_t *)f + SW_FEATURES, 8);
  return magic == 0x46505853 && features & HAS_UPPERS;
}

static void take_uppers(struct coracle_case *c, const struct _libc_fpstate *f) {
  if (!has_uppers(f)) return;
  uint64_t present;
  memcpy(&present, (const uint8_t *)f + XSTATE_BV, 8);
  if (present & HAS_UPPERS) memcpy(c->ymm_high, (const uint8_t *)f + UPPERS, sizeof c->ymm_high);
  else memset(c->ymm_high, 0, sizeof c->ymm_high);
}

// Takes the state a case left in the signal frame.
static void take(struct coracle_case *c, const greg_t *g, const struct _libc_fpstate *f) {
  for (int i = 0; i < 16; i++) c->gpr[i] = (uint64_t)g[gpr_order[i]];
  c->rip = (uint64_t)g[REG_RIP];
  c->rflags = (uint64_t)g[REG_EFL];
  c->error = (uint32_t)g[REG_ERR];
  c->cr2 = (uint64_t)g[REG_CR2];
  memcpy(c->xmm, f->_xmm, sizeof c->xmm);
  take_uppers(c, f);
  for (int i = 0; i < 8; i++) {
    memcpy(&c->significand[i], f->_st[i].significand, 8);
    c->sign_exponent[i] = f->_st[i].exponent;
  }
  c->mxcsr = f->mxcsr;
  c->control = f->cwd;
  c->status = f->swd;
  c->tags = (uint8_t)f->ftw;
  memcpy(channel->data[c - channel->cases], (void *)CORACLE_DATA, CORACLE_DATA_BYTES);
}

// Puts a case's state into the signal frame and its bytes into place.
static void put(const struct coracle_case *c, greg_t *g, struct _libc_fpstate *f) {
  for (int i = 0; i < 16; i++) g[gpr_order[i]] = (greg_t)c->gpr[i];
  g[REG_RIP] = (greg_t)c->rip;
  g[REG_EFL] = (greg_t)(c->rflags & 0xCD5);
  uint64_t code = SELECTOR_CODE64, data = SELECTOR_DATA;
  if (c->mode == CORACLE_COMPAT32) code = SELECTOR_CODE32;
  if (c->mode == CORACLE_LDT32) code = SELECTOR_LDT32, data = SELECTOR_LDT_DATA;
  if (c->mode == CORACLE_LDT16) code = SELECTOR_LDT16, data = SELECTOR_LDT_DATA16;
  g[REG_CSGSFS] = (greg_t)(code | data << 48);
  memcpy(f->_xmm, c->xmm, sizeof c->xmm);
  for (int i = 0; i < 8; i++) {
    memcpy(f->_st[i].significand, &c->significand[i], 8);
    f->_st[i].exponent = c->sign_exponent[i];
  }
  f->mxcsr = c->mxcsr;
  f->cwd = c->control;
  f->swd = c->status;
  f->ftw = c->tags;
  // XSTATE_BV: x87 and SSE come from the frame, not from their initial state.
  uint64_t present;
  memcpy(&present, (uint8_t *)f + 512, 8);
  present |= 3;
  if (has_uppers(f)) {
    present |= HAS_UPPERS;
    memcpy((uint8_t *)f + UPPERS, c->ymm_high, sizeof c->ymm_high);
  }
  memcpy((uint8_t *)f + 512, &present, 8);
  memcpy(code_view, c->code, sizeof c->code);
  memcpy((void *)CORACLE_DATA, channel->data[c - channel->cases], CORACLE_DATA_BYTES);
  // The frame does not hold DS and ES.
  __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" ::"r"((uint32_t)data));
}

static void next(greg_t *g, struct _libc_fpstate *f) {
  current++;
  if (current >= channel->count || current > CORACLE_CASES) {
    current = -1;
    __atomic_store_n(&channel->done, served, __ATOMIC_RELEASE);
    raw_syscall(SYS_futex, (long)&channel->done, FUTEX_WAKE, 1, 0);
    uint32_t asked;
    while ((asked = __atomic_load_n(&channel->asked, __ATOMIC_ACQUIRE)) == served)
      raw_syscall(SYS_futex, (long)&channel->asked, FUTEX_WAIT, (long)served, 0);
    served = asked;
    current = 0;
  }
  put(&channel->cases[current], g, f);
}

static void handler(int signal, siginfo_t *info, void *context) {
  (void)info;
  ucontext_t *u = context;
  greg_t *g = u->uc_mcontext.gregs;
  struct _libc_fpstate *f = u->uc_mcontext.fpregs;
  if (signal == SIGALRM) {
    // Only a case that was already running at the last tick has run too long.
    if (current < 0) return;
    if (ticking_case != current || ticking_batch != channel->asked) {
      ticking_case = current;
      ticking_batch = channel->asked;
      return;
    }
  }
  if (current >= 0) {
    struct coracle_case *c = &channel->cases[current];
    take(c, g, f);
    c->vector = signal == SIGALRM ? 255 : (uint8_t)g[REG_TRAPNO];
    c->ran = 1;
  } else {
    // The first entry: no batch is under way yet.
    current = CORACLE_CASES;
  }
  next(g, f);
}

static int ldt_entry(unsigned number, unsigned long base, unsigned limit, int wide, int code) {
  struct user_desc d = {.entry_number = number, .base_addr = (unsigned)base, .limit = limit, .seg_32bit = wide != 0,
                        .contents = code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA};
  return (int)syscall(SYS_modify_ldt, 0x11, &d, sizeof d);
}

static int confine(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -errno;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

static int prepare(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) return -ESRCH;
  int file = memfd_create("code", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, CORACLE_CODE_BYTES)) return -errno;
  void *code = mmap((void *)CORACLE_CODE, CORACLE_CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
                    file, 0);
  void *view = mmap(NULL, CORACLE_CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (code != (void *)CORACLE_CODE || view == MAP_FAILED) return -ENOMEM;
  code_view = view;
  memset(code_view, 0xCC, CORACLE_CODE_BYTES);
  void *data = mmap((void *)CORACLE_DATA, CORACLE_DATA_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (data != (void *)CORACLE_DATA) return -ENOMEM;
  if (ldt_entry(0, CORACLE_CODE, CORACLE_CODE_BYTES - 1, 1, 1)) return -errno;
  if (ldt_entry(1, CORACLE_CODE, CORACLE_CODE_BYTES - 1, 0, 1)) return -errno;
  if (ldt_entry(2, CORACLE_DATA, CORACLE_DATA_BYTES - 1, 1, 0)) return -errno;
  if (ldt_entry(3, CORACLE_DATA, CORACLE_DATA_BYTES - 1, 0, 0)) return -errno;
  stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
  if (sigaltstack(&stack, NULL)) return -errno;
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  static const int signals[] = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGALRM};
  sigset_t unblock;
  sigemptyset(&unblock);
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    if (sigaction(signals[i], &action, NULL)) return -errno;
    sigaddset(&unblock, signals[i]);
  }
  sigprocmask(SIG_UNBLOCK, &unblock, NULL);
  struct itimerval interval = {{0, 100000}, {0, 100000}};
  if (setitimer(ITIMER_REAL, &interval, NULL)) return -errno;
  return confine();
}

static void wait_for(uint32_t *word, uint32_t old, int milliseconds) {
  struct timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  syscall(SYS_futex, word, FUTEX_WAIT, old, &timeout, NULL, 0);
}

static int start(void) {
  pid_t parent = getpid();
  channel->ready = 0;
  channel->done = channel->asked;
  child = fork();
  if (child < 0) return -errno;
  if (child == 0) {
    served = channel->asked;
    int result = prepare(parent);
    __atomic_store_n(&channel->ready, result < 0 ? result : 1, __ATOMIC_RELEASE);
    if (result < 0) _exit(1);
    __asm__ volatile("int3");
    _exit(1);
  }
  for (int i = 0; i < 5000 && !__atomic_load_n(&channel->ready, __ATOMIC_ACQUIRE); i++) usleep(1000);
  if (channel->ready == 1) return 0;
  int result = channel->ready ? channel->ready : -ETIMEDOUT;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  child = 0;
  return result;
}

struct coracle_case *coracle_cases(void) {
  if (channel) return channel->cases;
  void *memory = mmap(NULL, sizeof *channel, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  channel = memory;
  int result = start();
  if (result < 0) {
    munmap(channel, sizeof *channel);
    channel = NULL;
    errno = -result;
    return NULL;
  }
  return channel->cases;
}

void *coracle_data(int index) { return channel->data[index]; }

int coracle_run(int count) {
  if (!channel) return -EINVAL;
  if (!child) {
    int result = start();
    if (result < 0) return result;
  }
  for (int i = 0; i < count; i++) channel->cases[i].ran = 0;
  channel->count = count;
  uint32_t asked = channel->asked + 1;
  uint32_t before = channel->done;
  __atomic_store_n(&channel->asked, asked, __ATOMIC_RELEASE);
  syscall(SYS_futex, &channel->asked, FUTEX_WAKE, 1, NULL, NULL, 0);
  for (;;) {
    uint32_t done = __atomic_load_n(&channel->done, __ATOMIC_ACQUIRE);
    if (done == asked) return 0;
    wait_for(&channel->done, before, 100);
    int status;
    if (waitpid(child, &status, WNOHANG) == child) {
      child = 0;
      return -EIO;
    }
  }
}

void coracle_close(void) {
  if (child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = 0;
  }
  if (channel) munmap(channel, sizeof *channel);
  channel = NULL;
}
