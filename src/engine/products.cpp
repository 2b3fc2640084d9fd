// Packed layouts are whatever oneDNN prefers for a block of kRowBlock rows on this processor; the
// primitives for fewer rows are made for the same layout. Every primitive runs with a scratchpad of
// the calling thread's, which is what makes it safe to share.
#include "products.h"

#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "ram/error.h"
#include "ram/thread.h"

namespace ram {
namespace {

using Desc = dnnl::memory::desc;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

const dnnl::engine& cpu() {
  static const dnnl::engine kEngine(dnnl::engine::kind::cpu, 0);
  return kEngine;
}

dnnl::stream& this_stream() {
  thread_local dnnl::stream stream(cpu());
  return stream;
}

/// Memory of one thread that only grows.
class ThreadBuffer {
 public:
  std::byte* at_least(size_t bytes) {
    if (size_ < bytes) {
      data_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64})));
      size_ = bytes;
    }
    return data_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

/// oneDNN 3 made descriptors' constructors take the engine and folded the operation's into it.
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

void check(dnnl_status_t status, const char* what) {
  if (status != dnnl_success) {
    fail(Code::kInternal, "oneDNN: {} failed with status {}", what, static_cast<int>(status));
  }
}

}  // namespace

struct Products::State {
  using Key = std::tuple<int64_t, int64_t, int64_t>;  // rows, n, k

  struct Entry {
    dnnl::matmul primitive;
    Desc x, w, y;
    size_t scratchpad = 0;
  };

  bool bf16 = false;     // the processor multiplies bf16
  bool rounded = false;  // weights are rounded to bf16
  std::mutex mutex;
  std::map<std::pair<int64_t, int64_t>, Desc> layouts;
  std::map<Key, std::shared_ptr<const Entry>> entries;

  Type type() const { return bf16 ? Type::bf16 : Type::f32; }

  /// @pre mutex held.
  const Desc& layout(int64_t n, int64_t k) {
    const auto [at, fresh] = layouts.try_emplace({n, k});
    if (fresh) {
      use_one_openmp_thread();
      at->second =
          matmul_desc(Desc({kRowBlock, k}, type(), Tag::ab), Desc({k, n}, type(), Tag::any),
                      Desc({kRowBlock, n}, Type::f32, Tag::ab))
              .weights_desc();
    }
    return at->second;
  }

  std::shared_ptr<const Entry> entry(int64_t rows, int64_t n, int64_t k) {
    const std::lock_guard lock(mutex);
    auto& entry = entries[{rows, n, k}];
    if (!entry) {
      const Desc x({rows, k}, type(), Tag::ab);
      const Desc w = layout(n, k);
      const Desc y({rows, n}, Type::f32, Tag::ab);
      const auto made = matmul_desc(x, w, y);
      entry = std::make_shared<Entry>(
          Entry{dnnl::matmul(made), x, w, y, made.scratchpad_desc().get_size()});
    }
    return entry;
  }
};

Products::Products(Precision precision) : state_(std::make_unique<State>()) {
  state_->rounded = precision == Precision::kBF16;
  state_->bf16 = state_->rounded && processor_has_bf16();
}

Products::~Products() = default;

bool Products::wants_bf16() const {
  return state_->bf16;
}

int64_t Products::best_rows() const {
  // AVX2's products of 256 x 4096 by 1024 ran at half of the speed of those by 256.
  constexpr int64_t kPlain = 256;
  constexpr int64_t kBlocked = 4096;
  const std::lock_guard lock(state_->mutex);
  const bool plain =
      state_->layout(kBlocked, kPlain) == Desc({kPlain, kBlocked}, state_->type(), Tag::ab);
  return plain ? kPlain : kBlocked;
}

int64_t Products::packed_bytes(int64_t n, int64_t k) {
  const std::lock_guard lock(state_->mutex);
  return static_cast<int64_t>(state_->layout(n, k).get_size());
}

void Products::pack(const float* weights, int64_t n, int64_t k, std::byte* packed) {
  use_one_openmp_thread();
  Desc layout;
  {
    const std::lock_guard lock(state_->mutex);
    layout = state_->layout(n, k);
  }
  // [n, k] row-major is [k, n] with the first axis fastest. oneDNN does not write through `from`.
  dnnl::memory from(Desc({k, n}, Type::f32, Tag::ba), cpu(), const_cast<float*>(weights));
  dnnl::memory to(layout, cpu(), packed);
  dnnl::reorder(from, to).execute(this_stream(), from, to);
  this_stream().wait();
}

void Products::multiply(const Product& product) {
  RAM_CHECK(product.rows >= 1 && product.rows <= kRowBlock);
  use_one_openmp_thread();
  thread_local ThreadBuffer scratch;
  thread_local ThreadBuffer dense;
  const int64_t rows = padded_rows(product.rows);
  const auto entry = state_->entry(rows, product.n, product.k);
  // oneDNN's fast products write rows without gaps only; where the output has some, or no room for
  // the rows that fill the block up, they go by way of a block that the cache holds.
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
}

void multiply_small(const SmallProduct& p) {
  use_one_openmp_thread();
  check(dnnl_sgemm('N', p.transposed ? 'T' : 'N', p.m, p.n, p.k, p.alpha, p.a, p.a_stride, p.b,
                   p.b_stride, 0.0F, p.c, p.c_stride),
        "sgemm");
}

}  // namespace ram
