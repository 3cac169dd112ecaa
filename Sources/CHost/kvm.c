#define _GNU_SOURCE
#include "chost_kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int control(int fd, unsigned long request, const void *_Nullable argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

static int command(int fd, unsigned long request, unsigned long argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

// MARK: system

int chost_kvm_open(void) {
  int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int chost_kvm_api_version(int kvm) { return command(kvm, KVM_GET_API_VERSION, 0); }
int chost_kvm_capability(int fd, unsigned long capability) { return command(fd, KVM_CHECK_EXTENSION, capability); }
int chost_kvm_create_vm(int kvm) { return command(kvm, KVM_CREATE_VM, 0); }
int chost_kvm_run_size(int kvm) { return command(kvm, KVM_GET_VCPU_MMAP_SIZE, 0); }

static struct kvm_cpuid2 *cpuid_list(uint32_t count) {
  struct kvm_cpuid2 *list = calloc(1, sizeof *list + count * sizeof list->entries[0]);
  if (list) list->nent = count;
  return list;
}

static int read_cpuid(int fd, unsigned long request, struct kvm_cpuid_entry2 *entries, uint32_t capacity) {
  struct kvm_cpuid2 *list = cpuid_list(capacity);
  if (!list) return -ENOMEM;
  int result = control(fd, request, list);
  if (result >= 0) {
    result = (int)list->nent;
    memcpy(entries, list->entries, list->nent * sizeof entries[0]);
  }
  free(list);
  return result;
}

int chost_kvm_supported_cpuid(int kvm, struct kvm_cpuid_entry2 *entries, uint32_t capacity) {
  return read_cpuid(kvm, KVM_GET_SUPPORTED_CPUID, entries, capacity);
}

// MARK: VM

int chost_kvm_create_vcpu(int vm, unsigned long index) { return command(vm, KVM_CREATE_VCPU, index); }

int chost_kvm_set_memory(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t host) {
  struct kvm_userspace_memory_region region = {
      .slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = host};
  return control(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

int chost_kvm_set_tss_address(int vm, uint64_t gpa) { return command(vm, KVM_SET_TSS_ADDR, gpa); }
int chost_kvm_set_identity_map(int vm, uint64_t gpa) { return control(vm, KVM_SET_IDENTITY_MAP_ADDR, &gpa); }

int chost_kvm_dirty_log(int vm, uint32_t slot, void *bitmap) {
  struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bitmap};
  return control(vm, KVM_GET_DIRTY_LOG, &log);
}

int chost_kvm_enable(int vm, uint32_t capability, uint64_t argument) {
  struct kvm_enable_cap enable = {.cap = capability, .args = {argument}};
  return control(vm, KVM_ENABLE_CAP, &enable);
}

int chost_kvm_filter_msrs(int vm, bool all, const uint32_t *msrs, uint32_t count) {
  // A bit that is 0 denies: the access exits.
  static uint8_t denied[sizeof(long)];
  static uint8_t allowed[sizeof(long)] = {1};
  struct kvm_msr_filter filter = {.flags = all ? KVM_MSR_FILTER_DEFAULT_DENY : KVM_MSR_FILTER_DEFAULT_ALLOW};
  if (count > KVM_MSR_FILTER_MAX_RANGES) return -EINVAL;
  for (uint32_t i = 0; i < count; i++) {
    filter.ranges[i] = (struct kvm_msr_filter_range){
        .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, .nmsrs = 1, .base = msrs[i], .bitmap = denied};
  }
  // A filter that denies by default needs a range; this one allows an index that does not exist.
  if (all) {
    filter.ranges[0] = (struct kvm_msr_filter_range){
        .flags = KVM_MSR_FILTER_READ, .nmsrs = 1, .base = 0xBFFFFFFF, .bitmap = allowed};
  }
  return control(vm, KVM_X86_SET_MSR_FILTER, &filter);
}

// MARK: vCPU

struct kvm_run *chost_kvm_map_run(int vcpu, size_t size) {
  void *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  return run == MAP_FAILED ? NULL : run;
}
void chost_kvm_unmap_run(struct kvm_run *run, size_t size) { munmap(run, size); }

int chost_kvm_get_regs(int vcpu, struct kvm_regs *regs) { return control(vcpu, KVM_GET_REGS, regs); }
int chost_kvm_set_regs(int vcpu, const struct kvm_regs *regs) { return control(vcpu, KVM_SET_REGS, regs); }
int chost_kvm_get_sregs(int vcpu, struct kvm_sregs *sregs) { return control(vcpu, KVM_GET_SREGS, sregs); }
int chost_kvm_set_sregs(int vcpu, const struct kvm_sregs *sregs) { return control(vcpu, KVM_SET_SREGS, sregs); }
int chost_kvm_get_events(int vcpu, struct kvm_vcpu_events *e) { return control(vcpu, KVM_GET_VCPU_EVENTS, e); }
int chost_kvm_set_events(int vcpu, const struct kvm_vcpu_events *e) { return control(vcpu, KVM_SET_VCPU_EVENTS, e); }
int chost_kvm_get_debugregs(int vcpu, struct kvm_debugregs *regs) { return control(vcpu, KVM_GET_DEBUGREGS, regs); }
int chost_kvm_set_debugregs(int vcpu, const struct kvm_debugregs *regs) {
  return control(vcpu, KVM_SET_DEBUGREGS, regs);
}
int chost_kvm_get_xsave(int vcpu, void *area) { return control(vcpu, KVM_GET_XSAVE, area); }
int chost_kvm_set_xsave(int vcpu, const void *area) { return control(vcpu, KVM_SET_XSAVE, area); }

int chost_kvm_get_xcr0(int vcpu, uint64_t *value) {
  struct kvm_xcrs xcrs = {0};
  int result = control(vcpu, KVM_GET_XCRS, &xcrs);
  if (result < 0) return result;
  for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++) {
    if (xcrs.xcrs[i].xcr == 0) *value = xcrs.xcrs[i].value;
  }
  return 0;
}

int chost_kvm_set_xcr0(int vcpu, uint64_t value) {
  struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = value}}};
  return control(vcpu, KVM_SET_XCRS, &xcrs);
}

enum { most_msrs = 32 };
// The kernel's struct kvm_msrs with room for its entries.
typedef struct {
  uint32_t count, padding;
  struct kvm_msr_entry entries[most_msrs];
} msr_list;

int chost_kvm_get_msrs(int vcpu, const uint32_t *indices, uint64_t *values, uint32_t count) {
  msr_list list = {.count = count};
  if (count > most_msrs) return -EINVAL;
  for (uint32_t i = 0; i < count; i++) list.entries[i].index = indices[i];
  int result = control(vcpu, KVM_GET_MSRS, &list);
  for (int i = 0; i < result; i++) values[i] = list.entries[i].data;
  return result;
}

int chost_kvm_get_msr(int vcpu, uint32_t index, uint64_t *value) {
  int result = chost_kvm_get_msrs(vcpu, &index, value, 1);
  return result == 0 ? -ENOENT : result;
}

int chost_kvm_set_msr(int vcpu, uint32_t index, uint64_t value) {
  msr_list list = {.count = 1, .entries = {{.index = index, .data = value}}};
  int result = control(vcpu, KVM_SET_MSRS, &list);
  return result == 0 ? -EINVAL : result;
}

int chost_kvm_set_cpuid(int vcpu, const struct kvm_cpuid_entry2 *entries, uint32_t count) {
  struct kvm_cpuid2 *list = cpuid_list(count);
  if (!list) return -ENOMEM;
  memcpy(list->entries, entries, count * sizeof entries[0]);
  int result = control(vcpu, KVM_SET_CPUID2, list);
  free(list);
  return result;
}

int chost_kvm_get_cpuid(int vcpu, struct kvm_cpuid_entry2 *entries, uint32_t capacity) {
  return read_cpuid(vcpu, KVM_GET_CPUID2, entries, capacity);
}

int chost_kvm_nmi(int vcpu) { return command(vcpu, KVM_NMI, 0); }
int chost_kvm_set_tsc_khz(int vcpu, unsigned long khz) { return command(vcpu, KVM_SET_TSC_KHZ, khz); }

int chost_kvm_guest_debug(int vcpu, uint32_t flags, const uint64_t dr[8]) {
  struct kvm_guest_debug debug = {.control = flags};
  for (int i = 0; i < 8; i++) debug.arch.debugreg[i] = dr[i];
  return control(vcpu, KVM_SET_GUEST_DEBUG, &debug);
}

static int statistic(int fd, const char *name, uint64_t *value) {
  struct kvm_stats_header header;
  if (pread(fd, &header, sizeof header, 0) != sizeof header || header.name_size > 256) return -EIO;
  union {
    struct kvm_stats_desc fixed;
    char bytes[sizeof(struct kvm_stats_desc) + 256];
  } description;
  size_t size = sizeof description.fixed + header.name_size;
  for (uint32_t i = 0; i < header.num_desc && i < 1024; i++) {
    if (pread(fd, &description, size, header.desc_offset + i * size) != (ssize_t)size) return -EIO;
    if (strncmp(description.bytes + sizeof description.fixed, name, header.name_size) != 0) continue;
    off_t at = header.data_offset + description.fixed.offset;
    return pread(fd, value, sizeof *value, at) == sizeof *value ? 0 : -EIO;
  }
  return -ENOENT;
}

int chost_kvm_statistic(int vcpu, const char *name, uint64_t *value) {
  int fd = command(vcpu, KVM_GET_STATS_FD, 0);
  if (fd < 0) return fd;
  int result = statistic(fd, name, value);
  close(fd);
  return result;
}

// MARK: KVM_RUN

// The kvm_run this thread is about to enter with, or is in. Touched by this thread and its signal handler alone.
static __thread struct kvm_run *volatile entered;

static void leave(int number) {
  (void)number;
  struct kvm_run *run = entered;
  if (run) __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int signal_number = -ENOENT;

// From the last real-time signal down: the first ones are what libraries ask for.
static void install(void) {
  for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
    struct sigaction present;
    if (sigaction(number, NULL, &present) != 0 || (present.sa_flags & SA_SIGINFO)) continue;
    if (present.sa_handler != SIG_DFL) continue;
    // KVM_RUN comes back with EINTR all the same; other calls this thread may be in are begun again.
    struct sigaction action = {.sa_handler = leave, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) == 0) {
      signal_number = number;
      return;
    }
  }
}

int chost_kvm_signal(void) {
  pthread_once(&once, install);
  return signal_number;
}

void chost_kvm_attach(struct kvm_run *run) { entered = run; }

void chost_kvm_clear(struct kvm_run *run) {
  // Whoever asks this thread to leave from here on sees it cleared, or is seen by the look for a kick that follows.
  __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

int chost_kvm_run(int vcpu) { return command(vcpu, KVM_RUN, 0); }
void chost_kvm_rest(void) { entered = NULL; }

void chost_kvm_interrupt(struct kvm_run *run, int tid) {
  __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
  if (tid > 0) syscall(SYS_tgkill, getpid(), tid, signal_number);
}

int chost_kvm_thread(void) {
  static __thread int tid;
  if (tid == 0) {
    tid = (int)syscall(SYS_gettid);
    sigset_t set;
    sigemptyset(&set);
    if (chost_kvm_signal() > 0) sigaddset(&set, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  }
  return tid;
}

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

int chost_kvm_timer_create(uintptr_t *timer) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = chost_kvm_signal()};
  event.sigev_notify_thread_id = chost_kvm_thread();
  timer_t made;
  if (timer_create(CLOCK_MONOTONIC, &event, &made) != 0) return -errno;
  *timer = (uintptr_t)made;
  return 0;
}

int chost_kvm_timer_set(uintptr_t timer, uint64_t nanoseconds) {
  struct itimerspec when = {
      .it_value = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)}};
  return timer_settime((timer_t)timer, TIMER_ABSTIME, &when, NULL) == 0 ? 0 : -errno;
}

void chost_kvm_timer_delete(uintptr_t timer) { timer_delete((timer_t)timer); }

// MARK: a bare loop

static long bare_loop(int vcpu, struct kvm_run *run, uint64_t origin) {
  struct kvm_sregs sregs;
  int result = chost_kvm_get_sregs(vcpu, &sregs);
  if (result < 0) return result;
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  struct kvm_regs regs = {.rip = origin, .rflags = 2};
  if ((result = chost_kvm_set_sregs(vcpu, &sregs)) < 0) return result;
  if ((result = chost_kvm_set_regs(vcpu, &regs)) < 0) return result;
  long count = 0;
  while (1) {
    result = chost_kvm_run(vcpu);
    if (result == -EINTR || result == -EAGAIN) continue;
    if (result < 0) return result;
    if (run->exit_reason != KVM_EXIT_IO) return -EPROTO;
    if (run->io.port == 0xF4) return count;
    count++;
  }
}

static long bare_machine(int kvm, int vm, void *page, uint64_t origin) {
  int result = chost_kvm_set_memory(vm, 0, 0, origin & ~4095ull, 4096, (uint64_t)(uintptr_t)page);
  if (result < 0) return result;
  int vcpu = chost_kvm_create_vcpu(vm, 0);
  if (vcpu < 0) return vcpu;
  size_t size = (size_t)chost_kvm_run_size(kvm);
  struct kvm_run *run = chost_kvm_map_run(vcpu, size);
  long count = run ? bare_loop(vcpu, run, origin) : -ENOMEM;
  if (run) chost_kvm_unmap_run(run, size);
  close(vcpu);
  return count;
}

long chost_kvm_bare_loop(int kvm, const uint8_t *code, size_t size, uint64_t origin) {
  if ((origin & 4095) + size > 4096) return -EINVAL;
  uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return -errno;
  memcpy(page + (origin & 4095), code, size);
  int vm = chost_kvm_create_vm(kvm);
  long count = vm < 0 ? vm : bare_machine(kvm, vm, page, origin);
  if (vm >= 0) close(vm);
  munmap(page, 4096);
  return count;
}
