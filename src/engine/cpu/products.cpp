// Packed layouts are those that oneDNN prefers for a block of kRowBlock rows on this processor; the
// primitives for fewer rows are made for the same layout. Every primitive runs with a scratchpad of
// the calling thread, which makes it safe to share.
#include "cpu/products.h"

#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <tuple>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>
#include <sys/mman.h>

#include "ram/error.h"
#include "ram/thread.h"

#include "cpu/buffer.h"
#include "cpu/tiles.h"

namespace ram {
namespace {

using Desc = dnnl::memory::desc;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

const dnnl::engine& cpu() {
  static const dnnl::engine kEngine(dnnl::engine::kind::cpu, 0);
  return kEngine;
}

/// oneDNN (2.6 seen) does not check all its allocations when it creates objects, and crashes
/// without memory. So this probes for memory first, one thread at a time; allocations elsewhere can
/// still interfere.
/// @throws std::bad_alloc
template <typename Make>
auto made_with_memory(const Make& make) {
  constexpr size_t kEnough = size_t{16} << 20;  // of code and tables, a large margin
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  // From the system: the heap may have room that code cannot use.
  void* room = mmap(nullptr, kEnough, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  if (room == MAP_FAILED) throw std::bad_alloc();
  munmap(room, kEnough);
  return make();
}

/// Turns oneDNN's memory errors into those used here.
[[noreturn]] void fail_as(const dnnl::error& error) {
  if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
  throw error;
}

/// As use_one_openmp_thread; the OpenMP library also ends the program if a thread's first call
/// finds no memory.
void prepare_thread() {
  thread_local bool prepared = made_with_memory([] {
    use_one_openmp_thread();
    return true;
  });
  (void)prepared;
}

dnnl::stream& this_stream() {
  thread_local dnnl::stream stream = made_with_memory([] { return dnnl::stream(cpu()); });
  return stream;
}

/// oneDNN 3 made descriptors' constructors take the engine and folded the operation's descriptor
/// into it.
dnnl::matmul::primitive_desc matmul_desc(const Desc& x, const Desc& w, const Desc& y) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {cpu(), x, w, y, attributes};
#else
  return {dnnl::matmul::desc(x, w, y), attributes, cpu()};
#endif
}

bool processor_has_bf16() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  const auto has = [isa](dnnl::cpu_isa wanted) {
    return (static_cast<unsigned>(isa) & static_cast<unsigned>(wanted)) ==
           static_cast<unsigned>(wanted);
  };
  return has(dnnl::cpu_isa::avx512_core_bf16);
}

/// Whether oneDNN has its own layout for float32 weights (AVX-512). Without one it multiplies plain
/// matrices, whose rows map to the same cache lines.
bool lays_out_weights() {
  use_one_openmp_thread();
  constexpr int64_t kSome = 512;
  const Desc plain({kSome, kSome}, Type::f32, Tag::ab);
  const auto any = Desc({kSome, kSome}, Type::f32, Tag::any);
  return matmul_desc(plain, any, plain).weights_desc() != plain;
}

}  // namespace

struct Products::State {
  using Key = std::tuple<int64_t, int64_t, int64_t>;  // rows, n, k

  struct Entry {
    dnnl::matmul primitive;
    Desc x, w, y;
    size_t scratchpad = 0;
  };

  struct Packer {
    dnnl::reorder primitive;
    size_t scratchpad = 0;
  };

  bool bf16 = false;   // the processor multiplies bf16
  bool tiled = false;  // by tiles.h
  std::mutex mutex;
  std::map<std::pair<int64_t, int64_t>, Desc> layouts;
  std::map<Key, std::shared_ptr<const Entry>> entries;
  std::map<std::pair<int64_t, int64_t>, std::shared_ptr<const Packer>> packers;

  Type type() const { return bf16 ? Type::bf16 : Type::f32; }

  /// @pre mutex held.
  const Desc& layout(int64_t n, int64_t k) {
    const auto known = layouts.find({n, k});
    if (known != layouts.end()) return known->second;
    prepare_thread();
    const Desc made = made_with_memory([&] {
      return matmul_desc(Desc({kRowBlock, k}, type(), Tag::ab), Desc({k, n}, type(), Tag::any),
                         Desc({kRowBlock, n}, Type::f32, Tag::ab))
          .weights_desc();
    });
    return layouts.emplace(std::pair(n, k), made).first->second;
  }

  std::shared_ptr<const Entry> entry(int64_t rows, int64_t n, int64_t k) {
    const std::lock_guard lock(mutex);
    auto& entry = entries[{rows, n, k}];
    if (!entry) {
      const Desc x({rows, k}, type(), Tag::ab);
      const Desc w = layout(n, k);
      const Desc y({rows, n}, Type::f32, Tag::ab);
      entry = made_with_memory([&] {
        const auto made = matmul_desc(x, w, y);
        return std::make_shared<Entry>(
            Entry{dnnl::matmul(made), x, w, y, made.scratchpad_desc().get_size()});
      });
    }
    return entry;
  }

  /// Made once, not by every thread for every matrix: creating it takes memory.
  std::shared_ptr<const Packer> packer(int64_t n, int64_t k, const dnnl::memory& from,
                                       const dnnl::memory& to) {
    const std::lock_guard lock(mutex);
    auto& packer = packers[{n, k}];
    if (!packer) {
      packer = made_with_memory([&] {
        dnnl::primitive_attr attributes;
        attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        const dnnl::reorder::primitive_desc made(from, to, attributes);
        return std::make_shared<Packer>(
            Packer{dnnl::reorder(made), made.scratchpad_desc().get_size()});
      });
    }
    return packer;
  }
};

Products::Products(Precision precision) try : state_(std::make_unique<State>()) {
  // Output of DNNL_VERBOSE would go to stdout, into the program's own output.
  dnnl_set_verbose(0);
  state_->bf16 = precision == Precision::kBF16 && processor_has_bf16();
  state_->tiled = !state_->bf16 && !made_with_memory(lays_out_weights);
} catch (const dnnl::error& error) {
  fail_as(error);
}

Products::~Products() = default;

bool Products::wants_bf16() const {
  return state_->bf16;
}

int64_t Products::packed_bytes(int64_t n, int64_t k) try {
  if (state_->tiled) return tiled_floats(n, k) * 4;
  const std::lock_guard lock(state_->mutex);
  return static_cast<int64_t>(state_->layout(n, k).get_size());
} catch (const dnnl::error& error) {
  fail_as(error);
}

void Products::pack(const float* weights, int64_t n, int64_t k, std::byte* packed) try {
  if (state_->tiled) {
    tile_weights(weights, k, 1, n, k, reinterpret_cast<float*>(packed));
    return;
  }
  prepare_thread();
  Desc layout;
  {
    const std::lock_guard lock(state_->mutex);
    layout = state_->layout(n, k);
  }
  // [n, k] row-major is [k, n] with the first axis contiguous. oneDNN does not write through
  // `from`.
  dnnl::memory from(Desc({k, n}, Type::f32, Tag::ba), cpu(), const_cast<float*>(weights));
  dnnl::memory to(layout, cpu(), packed);
  const auto packer = state_->packer(n, k, from, to);
  thread_local ThreadBuffer scratch;
  const dnnl::memory scratchpad(Desc({static_cast<int64_t>(packer->scratchpad)}, Type::u8, Tag::a),
                                cpu(), scratch.at_least(packer->scratchpad + 64));
  packer->primitive.execute(
      this_stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, scratchpad}});
  this_stream().wait();
} catch (const dnnl::error& error) {
  fail_as(error);
}

void Products::multiply(const Product& product) try {
  RAM_CHECK(product.rows >= 1 && product.rows <= kRowBlock);
  if (state_->tiled) {
    multiply_tiled({.x = product.x,
                    .x_stride = product.k,
                    .rows = product.rows,
                    .tiled = reinterpret_cast<const float*>(product.packed),
                    .tiled_n = product.n,
                    .tiled_k = product.k,
                    .n = product.n,
                    .k = product.k,
                    .y = product.y,
                    .y_stride = product.y_stride});
    return;
  }
  prepare_thread();
  thread_local ThreadBuffer scratch;
  thread_local ThreadBuffer dense;
  const int64_t rows = padded_rows(product.rows);
  const auto entry = state_->entry(rows, product.n, product.k);
  // oneDNN's fast products write only rows without gaps; where the output has gaps, or no room for
  // the padding rows of the block, they go through a temporary block that fits the cache.
  const bool direct = product.y_stride == product.n;
  auto* out = product.y;
  if (!direct) {
    out = reinterpret_cast<float*>(dense.at_least(static_cast<size_t>(rows * product.n) * 4));
  }
  const void* input = product.x;
  if (state_->bf16) input = product.x_bf16;
  const dnnl::memory x(entry->x, cpu(), const_cast<void*>(input));
  const dnnl::memory w(entry->w, cpu(), const_cast<std::byte*>(product.packed));
  const dnnl::memory y(entry->y, cpu(), out);
  const dnnl::memory scratchpad(Desc({static_cast<int64_t>(entry->scratchpad)}, Type::u8, Tag::a),
                                cpu(), scratch.at_least(entry->scratchpad + 64));
  entry->primitive.execute(this_stream(), {{DNNL_ARG_SRC, x},
                                           {DNNL_ARG_WEIGHTS, w},
                                           {DNNL_ARG_DST, y},
                                           {DNNL_ARG_SCRATCHPAD, scratchpad}});
  this_stream().wait();
  if (direct) return;
  for (int64_t i = 0; i < product.rows; ++i) {
    std::memcpy(product.y + i * product.y_stride, out + i * product.n,
                static_cast<size_t>(product.n) * 4);
  }
} catch (const dnnl::error& error) {
  fail_as(error);
}

}  // namespace ram
