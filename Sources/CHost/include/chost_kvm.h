// KVM: its ioctls (whose numbers are macros Swift cannot see), the unions of kvm_run, and the signal that takes
// a thread out of KVM_RUN. Every function returns a non-negative result or -errno.
#ifndef CHOST_KVM_H
#define CHOST_KVM_H
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#pragma clang assume_nonnull begin

// System (Documentation/virt/kvm/api.rst 4.1 to 4.7).
int chost_kvm_open(void);
int chost_kvm_api_version(int kvm);
int chost_kvm_capability(int fd, unsigned long capability);
int chost_kvm_create_vm(int kvm);
int chost_kvm_run_size(int kvm);
// The CPUID KVM says it can give a guest; at most `capacity` entries. The result is their number.
int chost_kvm_supported_cpuid(int kvm, struct kvm_cpuid_entry2 *entries, uint32_t capacity);

// VM.
int chost_kvm_create_vcpu(int vm, unsigned long index);
int chost_kvm_set_memory(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t host);
// Three pages and one page of guest-physical space that Intel processors without unrestricted guests need.
int chost_kvm_set_tss_address(int vm, uint64_t gpa);
int chost_kvm_set_identity_map(int vm, uint64_t gpa);
int chost_kvm_dirty_log(int vm, uint32_t slot, void *bitmap);
int chost_kvm_enable(int vm, uint32_t capability, uint64_t argument);
// Which MSRs exit: all, or the `count` given ones alone.
int chost_kvm_filter_msrs(int vm, bool all, const uint32_t *msrs, uint32_t count);

// vCPU.
struct kvm_run *_Nullable chost_kvm_map_run(int vcpu, size_t size);
void chost_kvm_unmap_run(struct kvm_run *run, size_t size);
int chost_kvm_get_regs(int vcpu, struct kvm_regs *regs);
int chost_kvm_set_regs(int vcpu, const struct kvm_regs *regs);
int chost_kvm_get_sregs(int vcpu, struct kvm_sregs *sregs);
int chost_kvm_set_sregs(int vcpu, const struct kvm_sregs *sregs);
int chost_kvm_get_events(int vcpu, struct kvm_vcpu_events *events);
int chost_kvm_set_events(int vcpu, const struct kvm_vcpu_events *events);
int chost_kvm_get_debugregs(int vcpu, struct kvm_debugregs *regs);
int chost_kvm_set_debugregs(int vcpu, const struct kvm_debugregs *regs);
// The 4096 bytes of an XSAVE area in its standard format.
int chost_kvm_get_xsave(int vcpu, void *area);
int chost_kvm_set_xsave(int vcpu, const void *area);
int chost_kvm_get_xcr0(int vcpu, uint64_t *value);
int chost_kvm_set_xcr0(int vcpu, uint64_t value);
int chost_kvm_get_msr(int vcpu, uint32_t index, uint64_t *value);
int chost_kvm_set_msr(int vcpu, uint32_t index, uint64_t value);
// Up to 32 MSRs at once; the result is how many could be had, up to the first that could not.
int chost_kvm_get_msrs(int vcpu, const uint32_t *indices, uint64_t *values, uint32_t count);
int chost_kvm_set_cpuid(int vcpu, const struct kvm_cpuid_entry2 *entries, uint32_t count);
int chost_kvm_get_cpuid(int vcpu, struct kvm_cpuid_entry2 *entries, uint32_t capacity);
int chost_kvm_nmi(int vcpu);
int chost_kvm_set_tsc_khz(int vcpu, unsigned long khz);
// `control` is KVM_GUESTDBG_*; `dr` has DR0 to DR3, DR6 (not used) and DR7 at the indices of their numbers.
int chost_kvm_guest_debug(int vcpu, uint32_t control, const uint64_t dr[_Nonnull 8]);
// A statistic of the vCPU by name.
int chost_kvm_statistic(int vcpu, const char *name, uint64_t *value);

// KVM_RUN. The signal (a real-time signal nobody else in the process has a handler for, with an empty handler
// but for one store) is installed by the first call of chost_kvm_signal, which gives its number.
int chost_kvm_signal(void);
// From here to chost_kvm_rest the signal sets immediate_exit in `run`.
void chost_kvm_attach(struct kvm_run *run);
// immediate_exit becomes 0, before anything the caller reads next.
void chost_kvm_clear(struct kvm_run *run);
int chost_kvm_run(int vcpu);
void chost_kvm_rest(void);
// Takes the thread `tid` of this process out of KVM_RUN on `run`, or keeps it from entering.
void chost_kvm_interrupt(struct kvm_run *run, int tid);
int chost_kvm_thread(void);
// A timer of the calling thread that sends it the signal at a moment of CLOCK_MONOTONIC.
int chost_kvm_timer_create(uintptr_t *timer);
int chost_kvm_timer_set(uintptr_t timer, uint64_t nanoseconds);
void chost_kvm_timer_delete(uintptr_t timer);

// A VM of one page with real-mode code that runs until it writes to port F4h; its other exits are not looked at.
// The result is how many there were.
long chost_kvm_bare_loop(int kvm, const uint8_t *code, size_t size, uint64_t origin);

// The unions of kvm_run.
typedef struct {
  uint16_t port;
  uint8_t size;
  bool write;
  uint32_t count;
  uint8_t *data;
} chost_kvm_io;
typedef struct {
  uint64_t gpa;
  uint32_t size;
  bool write;
  uint8_t *data;
} chost_kvm_mmio;

static inline chost_kvm_io chost_kvm_io_exit(struct kvm_run *run) {
  return (chost_kvm_io){run->io.port, run->io.size, run->io.direction == KVM_EXIT_IO_OUT, run->io.count,
                        (uint8_t *)run + run->io.data_offset};
}
static inline chost_kvm_mmio chost_kvm_mmio_exit(struct kvm_run *run) {
  return (chost_kvm_mmio){run->mmio.phys_addr, run->mmio.len, run->mmio.is_write != 0, run->mmio.data};
}
static inline uint32_t chost_kvm_msr_index(const struct kvm_run *run) { return run->msr.index; }
static inline uint64_t chost_kvm_msr_data(const struct kvm_run *run) { return run->msr.data; }
static inline void chost_kvm_msr_answer(struct kvm_run *run, uint64_t data, bool fails) {
  run->msr.data = data;
  run->msr.error = fails;
}
static inline uint32_t chost_kvm_debug_exception(const struct kvm_run *run) { return run->debug.arch.exception; }
static inline uint64_t chost_kvm_debug_dr6(const struct kvm_run *run) { return run->debug.arch.dr6; }
static inline uint32_t chost_kvm_suberror(const struct kvm_run *run) { return run->internal.suberror; }
static inline uint64_t chost_kvm_hardware_reason(const struct kvm_run *run) { return run->hw.hardware_exit_reason; }
static inline uint64_t chost_kvm_entry_failure(const struct kvm_run *run) {
  return run->fail_entry.hardware_entry_failure_reason;
}
static inline struct kvm_sync_regs *chost_kvm_sync(struct kvm_run *run) { return &run->s.regs; }

#pragma clang assume_nonnull end
#endif
