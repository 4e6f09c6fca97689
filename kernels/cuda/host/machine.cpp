/* machine.cpp - blocks of threads as fibers of one thread of the host. */
#undef _FORTIFY_SOURCE /* its longjmp refuses to enter another stack */
#include "machine.hpp"

#include <csetjmp>
#include <memory>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#include "block.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

thread_local emulated_place emulated_here;

namespace {

constexpr size_t STACK_BYTES = SANITIZED ? 256 << 10 : 64 << 10;

/* Memory for the stacks of a block's fibers; pages that are never touched cost nothing. */
class stacks {
 public:
  explicit stacks(size_t n) : n_bytes(n * STACK_BYTES) {
    void *at = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    start = static_cast<char *>(at);
  }
  ~stacks() { munmap(start, n_bytes); }
  stacks(const stacks &) = delete;
  stacks &operator=(const stacks &) = delete;
  char *of(size_t i) const { return start + i * STACK_BYTES; }

 private:
  size_t n_bytes;
  char *start;
};

enum class state { runnable, at_block, at_warp, ended };

struct pending_copy {
  uint8_t *to;
  const uint8_t *from;
};

/* A place to go on from: by setjmp, which asks nothing of the system. Sanitizers want to be told. */
struct context {
  ucontext_t full;
  jmp_buf quick;
  bool entered = false;
  void *fake_stack = nullptr;
};

struct fiber {
  context at;
  state now = state::ended;
  std::vector<std::vector<pending_copy>> groups; /* of copies; the last is not committed */
};

struct warp {
  emulated_together op = nullptr;
  void *each[32] = {};
  uint32_t n_here = 0;
};

/* The fibers of this thread of the host, which go from block to block. */
struct machine {
  stacks memory{MOST_EMULATED_THREADS};
  std::vector<fiber> fibers{MOST_EMULATED_THREADS};
  std::vector<warp> warps{MOST_EMULATED_THREADS / 32};
  context scheduler;
  const void *scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  uint32_t n_threads = 0, current = 0, n_at_block = 0, n_ended = 0;
  bool broken = false;
  const emulated_kernel *kernel = nullptr;
  const void *args = nullptr;
};

thread_local std::unique_ptr<machine> here;

void switch_to(context &from, context &to, [[maybe_unused]] const void *stack, [[maybe_unused]] size_t stack_bytes) {
#if SANITIZED
  __sanitizer_start_switch_fiber(&from.fake_stack, stack, stack_bytes);
#endif
  if (_setjmp(from.quick) == 0) {
    if (to.entered) _longjmp(to.quick, 1);
    to.entered = true;
    setcontext(&to.full);
  }
#if SANITIZED
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

/* Back to the scheduler, until it chooses this fiber again. */
void leave() {
  machine &b = *here;
  switch_to(b.fibers[b.current].at, b.scheduler, b.scheduler_stack, b.scheduler_stack_bytes);
}

/* A thread of block after block; it is never left behind but between two of them. */
void fiber_main() {
#if SANITIZED
  __sanitizer_finish_switch_fiber(nullptr, &here->scheduler_stack, &here->scheduler_stack_bytes);
#endif
  for (;;) {
    machine &b = *here;
    b.kernel->run(b.args);
    b.fibers[b.current].now = state::ended;
    b.n_ended++;
    leave();
  }
}

void create(machine &b, uint32_t i) {
  fiber &f = b.fibers[i];
  getcontext(&f.at.full);
  f.at.full.uc_stack.ss_sp = b.memory.of(i);
  f.at.full.uc_stack.ss_size = STACK_BYTES;
  f.at.full.uc_link = nullptr;
  makecontext(&f.at.full, fiber_main, 0);
}

void resume(machine &b, uint32_t i) {
  b.current = i;
  emulated_here.thread = i;
  switch_to(b.scheduler, b.fibers[i].at, b.memory.of(i), STACK_BYTES);
}

/* Threads that ended are not waited for. */
void open_barrier(machine &b) {
  if (b.n_at_block == 0 || b.n_at_block + b.n_ended < b.n_threads) return;
  for (fiber &f : b.fibers) {
    if (f.now == state::at_block) f.now = state::runnable;
  }
  b.n_at_block = 0;
}

/* All threads to their ends; false where they wait for what does not come. */
bool run_to_end(machine &b, bool reversed) {
  const uint32_t n = b.n_threads;
  while (b.n_ended < n) {
    bool moved = false;
    for (uint32_t j = 0; j < n && !b.broken; j++) {
      const uint32_t i = reversed ? n - 1 - j : j;
      if (b.fibers[i].now != state::runnable) continue;
      moved = true;
      resume(b, i);
    }
    open_barrier(b);
    if (!moved || b.broken) return false;
  }
  return true;
}

}  // namespace

void emulated_sync_block() {
  machine &b = *here;
  b.fibers[b.current].now = state::at_block;
  b.n_at_block++;
  leave();
}

void emulated_warp(emulated_together op, void *mine) {
  machine &b = *here;
  warp &w = b.warps[b.current / 32];
  if (w.n_here == 0) w.op = op;
  if (w.op != op) {
    b.broken = true;
    leave();
  }
  w.each[b.current % 32] = mine;
  w.n_here++;
  if (w.n_here < 32) {
    b.fibers[b.current].now = state::at_warp;
    leave();
    return;
  }
  op(w.each);
  w.n_here = 0;
  for (uint32_t i = b.current / 32 * 32; i < b.current / 32 * 32 + 32; i++) b.fibers[i].now = state::runnable;
}

void emulated_copy(uint8_t *to, const uint8_t *from) {
  if (((uintptr_t)to | (uintptr_t)from) % 16 != 0) here->broken = true;
  here->fibers[here->current].groups.back().push_back({to, from});
}

void emulated_copy_commit() { here->fibers[here->current].groups.emplace_back(); }

void emulated_copy_wait(int n) {
  auto &groups = here->fibers[here->current].groups;
  while (groups.size() > (size_t)n + 1) {
    for (const pending_copy &copy : groups.front()) memcpy(copy.to, copy.from, 16);
    groups.erase(groups.begin());
  }
}

/* Products are exact; the 16 of an element are summed in binary64 with what was there, and rounded once. A GPU rounds each of
 * its additions in a way of its own. */
void emulated_mma_bf16(void *const each[32]) {
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const emulated_mma &m = *static_cast<const emulated_mma *>(each[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      const int row = g + 8 * (i % 2), k = 2 * t + 8 * (i / 2);
      a[row][k] = f32_of_bits(m.a[i] << 16);
      a[row][k + 1] = f32_of_bits(m.a[i] & ~0xffffu);
    }
    for (int i = 0; i < 2; i++) {
      b[2 * t + 8 * i][g] = f32_of_bits(m.b[i] << 16);
      b[2 * t + 8 * i + 1][g] = f32_of_bits(m.b[i] & ~0xffffu);
    }
  }
  double sums[16][8] = {};
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < 16; k++) {
      for (int n = 0; n < 8; n++) sums[row][n] += a[row][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    float *c = static_cast<emulated_mma *>(each[lane])->c;
    for (int i = 0; i < 4; i++) c[i] = (float)(c[i] + sums[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2]);
  }
}

int emulated_run(const emulated_kernel &kernel, const uint32_t grid[3], uint32_t n_threads, size_t shared_bytes,
                 const void *args, bool reversed) try {
  if (!here) {
    here = std::make_unique<machine>();
    for (uint32_t i = 0; i < MOST_EMULATED_THREADS; i++) create(*here, i);
    here->scheduler.entered = true;
  }
  machine &b = *here;
  b.kernel = &kernel;
  b.args = args;
  b.n_threads = n_threads;
  std::vector<uint8_t> shared(shared_bytes + 128);
  uint8_t *aligned = shared.data() + (128 - (uintptr_t)shared.data() % 128) % 128;
  const uint64_t n_blocks = (uint64_t)grid[0] * grid[1] * grid[2];
  for (int i = 0; i < 3; i++) emulated_here.n_blocks[i] = grid[i];
  bool ended = true;
  for (uint64_t i = 0; ended && i < n_blocks; i++) {
    const uint64_t at = reversed ? n_blocks - 1 - i : i;
    emulated_here.block[0] = (uint32_t)(at % grid[0]);
    emulated_here.block[1] = (uint32_t)(at / grid[0] % grid[1]);
    emulated_here.block[2] = (uint32_t)(at / grid[0] / grid[1]);
    emulated_here.shared = aligned;
    memset(aligned, 0xff, shared_bytes);
    b.n_at_block = b.n_ended = 0;
    for (uint32_t t = 0; t < n_threads; t++) {
      b.fibers[t].now = state::runnable;
      b.fibers[t].groups.assign(1, {});
    }
    ended = run_to_end(b, reversed);
  }
  if (ended && !b.broken) return ORIBI_CUDA_EMULATED_OK;
  here.reset(); /* its fibers wait in the middle of a block */
  return ORIBI_CUDA_EMULATED_DEADLOCK;
} catch (const std::bad_alloc &) {
  here.reset();
  return ORIBI_CUDA_EMULATED_MEMORY;
}
