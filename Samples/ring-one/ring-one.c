// A kernel in ring 1 under Xen's 32-bit ABI. Each line says what was tried; "ok" or what came instead.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct start_info {
  char magic[32];
  u32 pages, shared_info, flags, store_mfn, store_port, console_mfn, console_port, tables, table_frames, frame_list;
};
struct ring {
  char in[1024], out[2048];
  volatile u32 in_consumer, in_producer, out_consumer, out_producer;
};
struct frame {
  u32 ds, edi, esi, ebp, esp_unused, ebx, edx, ecx, eax, vector, code, eip, cs, eflags, esp, ss;
};
struct trap { u8 vector, flags; u16 cs; u32 address; };

extern char hypercall_page[], user_code[], user_reads[], user_calls[], user_halts[], user_stack[], back[];
extern volatile u32 table[1024], plain[1024], shared[1024];
void on_divide(void), on_invalid(void), on_protection(void), on_page_fault(void), on_call(void), on_event(void);
void to_ring3(u32 eip, u32 esp, u32 direct);
void start(void);

enum { KERNEL_CS = 0xE019, KERNEL_DS = 0xE021, SELF = 0x7FF0 };
static struct start_info *info;
static u32 stack[1024];

// By INT 82h itself; result in EAX.
static int call5(u32 number, u32 a, u32 b, u32 c, u32 d, u32 e) {
  int result;
  asm volatile("int $0x82" : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d), "+D"(e) : "a"(number) : "memory");
  return result;
}
static int call(u32 number, u32 a, u32 b, u32 c) { return call5(number, a, b, c, 0, 0); }

// Through the hypercall page.
static int paged(u32 number, u32 a, u32 b, u32 c) {
  int result;
  u32 entry = (u32)hypercall_page + number * 32;
  asm volatile("call *%1" : "=a"(result), "+r"(entry), "+b"(a), "+c"(b), "+d"(c) : : "memory");
  return result;
}

static u32 frame_of(const volatile void *address) {
  return ((u32 *)info->frame_list)[((u32)address - 0xC0000000) >> 12];
}
// The L1 entries of what is mapped from C0000000h on lie behind L3 and L2, in order.
static volatile u64 *entry_of(const volatile void *address) {
  return (volatile u64 *)(info->tables + 0x2000) + (((u32)address - 0xC0000000) >> 12);
}
static int map(const volatile void *address, u32 frame, u32 flags) {
  u64 entry = (u64)frame << 12 | flags;
  return call5(14, (u32)address, (u32)entry, (u32)(entry >> 32), 2, 0);
}

static void say(const char *text) {
  struct ring *ring = (struct ring *)(info->tables - 0x1000);
  for (; *text; text++) ring->out[ring->out_producer++ & 2047] = *text;
  u32 port = info->console_port;
  call(32, 4, (u32)&port, 0);
}
static void say_number(u32 number) {
  char text[9];
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15];
  text[8] = 0;
  say(text);
}
static void expect(const char *what, u32 got, u32 wanted) {
  say(got == wanted ? "ok    " : "WRONG ");
  say(what);
  if (got != wanted) {
    say(": ");
    say_number(got);
    say(" for ");
    say_number(wanted);
  }
  say("\n");
}

// The last trap, and where to go on after it: so many bytes on, or, from ring 3, back in the kernel.
static struct frame last;
static u32 fault_address;
static volatile u32 events, traps;

void trap(struct frame *frame) {
  last = *frame;
  if (frame->vector == 0xF3) {
    events++;
    ((volatile u8 *)shared)[0] = 0;
    return;
  }
  traps++;
  fault_address = *(volatile u32 *)((u32)shared + 8);
  if ((frame->cs & 3) == 3) {
    frame->eip = (u32)back;
    frame->cs = KERNEL_CS;
    return;
  }
  frame->eip += frame->vector == 0 ? 2 : frame->vector == 13 || frame->vector == 14 ? 6 : 2;
}

// An instruction of six bytes that may fault; the vector, or 100h for none.
static u32 try_read(u32 address) {
  u32 before = traps;
  asm volatile(".byte 0x3e; movl (%%eax), %%ecx; nop; nop; nop" : : "a"(address) : "ecx", "memory");
  return traps == before ? 0x100 : last.vector;
}
static u32 try_write(u32 address) {
  u32 before = traps;
  asm volatile(".byte 0x3e; movl %%ecx, (%%eax); nop; nop; nop" : : "a"(address), "c"(7) : "memory");
  return traps == before ? 0x100 : last.vector;
}

static void basics(void) {
  u32 cs;
  asm("movl %%cs, %0" : "=r"(cs));
  expect("the kernel runs in ring 1", cs, KERNEL_CS);
  expect("start_info is a 32-bit PAE guest's", *(u32 *)(info->magic + 12) == ('3' | '2' << 8 | 'p' << 16), 1);
  expect("xen_version by the hypercall page", paged(17, 0, 0, 0), 4 << 16 | 17);
  expect("a number that is no call", call(99, 0, 0, 0), -38);
  expect("a call of 64-bit guests alone", call(25, 0, 0, 0), -38);
}

static void traps_come_back(void) {
  static struct trap table[] = {
    {0, 0, KERNEL_CS, (u32)on_divide}, {6, 0, KERNEL_CS, (u32)on_invalid}, {13, 4, KERNEL_CS, (u32)on_protection},
    {14, 4, KERNEL_CS, (u32)on_page_fault}, {0x80, 3, KERNEL_CS, (u32)on_call}, {0, 0, 0, 0},
  };
  expect("set_trap_table", call(0, (u32)table, 0, 0), 0);
  call(3, KERNEL_DS, (u32)(stack + 1024), 0);
  asm volatile("divl %%ecx" : : "a"(1), "d"(0), "c"(0) : "memory");
  expect("a division by zero comes back as a frame", last.vector, 0);
  expect("its CS has ring 1 and the event mask above", last.cs, 0x10000 | KERNEL_CS);
  u32 one = 1, value = 0;
  asm volatile("inb $0x60, %%al; nop; nop; nop; nop" : "+a"(value) : : "memory");
  expect("a port faults without set_iopl", last.vector, 13);
  asm volatile("outb %%al, $0x80; nop; nop; nop; nop" : : "a"(value) : "memory");
  expect("and so does one written", traps, 3);
  expect("set_iopl", call(33, 6, (u32)&one, 0), 0);
  asm volatile("inb $0x60, %%al" : "+a"(value) : : "memory");
  expect("and floats with it", value & 0xFF, 0xFF);
  asm volatile("outb %%al, $0x80" : : "a"(value) : "memory");
  expect("what is written is lost, without a trap", traps, 3);
}

static void memory_is_guarded(void) {
  u32 mfn = frame_of((void *)plain);
  expect("a frame's machine number is another", mfn != ((u32)plain - 0xC0000000) >> 12, 1);
  expect("the machine-to-physical table knows it", ((u32 *)0xF5800000)[mfn], ((u32)plain - 0xC0000000) >> 12);
  expect("and cannot be written", try_write(0xF5800000 + mfn * 4), 14);
  expect("its fault's address is in vcpu_info", fault_address, 0xF5800000 + mfn * 4);
  expect("the kernel's fault is none of ring 3", last.code, 3);
  expect("the monitor lies beyond the segments", try_read(0xF7000000), 13);
  expect("a page is made read-only", map(plain, mfn, 0x61), 0);
  expect("and a store to it faults", try_write((u32)plain), 14);
  expect("and writable again", map(plain, mfn, 0x63), 0);
  expect("then a store is done", try_write((u32)plain), 0x100);
  expect("a page table is mapped writable by nobody", map(plain, frame_of((void *)info->tables), 0x63), -22);
  expect("nor is a frame of the monitor's", map(plain, 1, 0x61), -16);
  expect("a store into a table faults", try_write((u32)entry_of(plain)), 14);
  expect("vm_assist writable_pagetables", call(21, 0, 2, 0), 0);
  *(volatile u32 *)entry_of(plain) = mfn << 12 | 0x61;
  u32 invalidate[3] = {7, (u32)plain, 0};
  call5(26, (u32)invalidate, 1, 0, SELF, 0);
  expect("now it is carried out as a checked update", try_write((u32)plain), 14);
  map(plain, mfn, 0x63);
}

static void calls_in_a_row(void) {
  u32 mfn = frame_of((void *)plain);
  u32 calls[16] = {14, 1, (u32)plain, mfn << 12 | 0x61, 0, 2, 0, 0, 14, 1, (u32)plain, 1 << 12 | 0x63, 0, 2, 0, 0};
  expect("a multicall of two", call(13, (u32)calls, 2, 0), 0);
  expect("the first is done", calls[1], 0);
  expect("the second is refused", calls[9], -16);
  map(plain, mfn, 0x63);
}

static void ring3(void) {
  u32 code = frame_of(user_code), data = frame_of(user_stack);
  map(user_code, code, 0x65);
  map(user_stack, data, 0x67);
  for (u32 direct = 0; direct < 2; direct++) {
    to_ring3((u32)user_code, (u32)user_stack + 4096, direct);
    expect(direct ? "ring 3 by IRET itself: INT 80h comes back" : "ring 3 by the iret hypercall: INT 80h comes back", last.vector, 0x80);
    expect("with the program's EAX and ring", last.eax << 4 | (last.cs & 3), 39 << 4 | 3);
  }
  to_ring3((u32)user_reads, (u32)user_stack + 4096, 0);
  expect("a program's read of the kernel is a user's fault", last.vector << 8 | last.code, 0xE05);
  to_ring3((u32)user_calls, (u32)user_stack + 4096, 0);
  expect("a program's INT 82h is no hypercall", last.code, 0x82 << 3 | 2);
  to_ring3((u32)user_halts, (u32)user_stack + 4096, 0);
  expect("a program's HLT is #GP", last.vector << 16 | (u16)last.eip, 13 << 16 | (u16)(u32)user_halts);
}

static void descriptors(void) {
  u64 *entries = (u64 *)table;
  entries[1] = 0x00CF9A000000FFFF;
  entries[2] = 0x00CF92000000FFFF;
  u32 mfn = frame_of(table);
  expect("a GDT page that can be written is refused", call(2, (u32)&mfn, 3, 0), -22);
  map(table, mfn, 0x61);
  expect("set_gdt", call(2, (u32)&mfn, 3, 0), 0);
  expect("a ring-0 segment became one of ring 1, cut short", entries[2] == 0x00CFB200000067FF, 1);
  u32 limit = 0;
  asm volatile("lsl %1, %0" : "=r"(limit) : "r"(0x11));
  expect("LSL says where it ends", limit, 0xF67FFFFF);
  expect("a call gate is refused", call5(10, mfn << 12 | 8, 0, 0x00100000, 0x0000EC00, 0), -22);
  u32 ldt[3] = {13, (u32)table, 3};
  expect("MMUEXT_SET_LDT", call5(26, (u32)ldt, 1, 0, SELF, 0), 0);
  u32 value = 0;
  asm volatile("movl %1, %%fs; movl %%fs:(%2), %0; xorl %1, %1; movl %1, %%fs" : "=&r"(value) : "r"(0x15), "r"(plain));
  expect("a segment of the LDT reads the same memory", value, plain[0]);
}

static void events_come(void) {
  u32 registration[4] = {frame_of(shared), 0, 0, 0};
  call(4, KERNEL_CS, (u32)on_event, KERNEL_CS);
  expect("register_vcpu_info", call(24, 10, 0, (u32)registration), 0);
  u32 binding[3] = {0, 0, 0};
  expect("bind_virq of the timer", call(32, 1, (u32)binding, 0), 0);
  expect("its port", binding[2], 3);
  expect("unmask", call(32, 9, (u32)(binding + 2), 0), 0);
  ((volatile u8 *)shared)[0] = 0;
  u64 when[2] = {1000000000, 0};
  expect("a timer one second after the start", call(24, 8, 0, (u32)when), 0);
  expect("block", call(29, 1, 0, 0), 0);
  expect("an event woke the kernel", events, 1);
  expect("its frame has the mask off", last.cs, KERNEL_CS);
  expect("and IF on", last.eflags & 0x200, 0x200);
}

void main(struct start_info *start) {
  info = start;
  // Until register_vcpu_info its words are in shared_info, which is mapped here.
  map(shared, info->shared_info >> 12, 0x63);
  basics();
  traps_come_back();
  memory_is_guarded();
  calls_in_a_row();
  ring3();
  descriptors();
  // Events masked until one is waited for.
  ((volatile u8 *)shared)[1] = 1;
  map(shared, frame_of(shared), 0x63);
  events_come();
  u32 reason = 0;
  call(29, 2, (u32)&reason, 0);
}
