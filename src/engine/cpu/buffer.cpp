#include "cpu/buffer.h"

#include <algorithm>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ram {
namespace {

constexpr std::align_val_t kAlignment{64};
// Large buffers are aligned to large pages and request them: reading through such a buffer is a
// fifth faster (measured); with small pages every 64 lines cost a page-table walk.
constexpr int64_t kLargePage = int64_t{2} << 20;

std::byte* allocate(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  if (bytes < 2 * kLargePage) return static_cast<std::byte*>(::operator new(size, kAlignment));
  void* data = ::operator new(size, std::align_val_t{kLargePage});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Whole pages only: memory past the buffer is not touched.
  (void)madvise(data, size / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(data);
}

void release(std::byte* buffer, int64_t bytes) {
  ::operator delete(buffer, bytes < 2 * kLargePage ? kAlignment : std::align_val_t{kLargePage});
}

/// Sizes are rounded up by at most an eighth, so that nearly equal requests share buffers.
int64_t size_class(int64_t bytes) {
  int64_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

}  // namespace

BufferPool::~BufferPool() {
  for (auto& [size, buffers] : free_) {
    for (std::byte* buffer : buffers) release(buffer, size);
  }
}

std::shared_ptr<std::byte> BufferPool::take(int64_t bytes) {
  const int64_t size = size_class(bytes + kSlackBytes);
  std::byte* buffer = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto at = free_.find(size);
    if (at != free_.end() && !at->second.empty()) {
      buffer = at->second.back();
      at->second.pop_back();
      idle_bytes_ -= size;
    }
    used_bytes_ += size;
    most_used_bytes_ = std::max(most_used_bytes_, used_bytes_);
    // Before the allocation, so that both never exist together.
    drop_idle(spare_bytes_ + most_used_bytes_ - used_bytes_);
  }
  if (buffer == nullptr) {
    try {
      buffer = allocate(size);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      used_bytes_ -= size;
      throw;
    }
  }
  return {buffer,
          [pool = shared_from_this(), size](std::byte* done) { pool->give_back(done, size); }};
}

BufferPool::Account BufferPool::account() const {
  const std::lock_guard lock(mutex_);
  return {.used_bytes = used_bytes_, .idle_bytes = idle_bytes_};
}

void BufferPool::keep_idle(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  spare_bytes_ = std::max(spare_bytes_, bytes);
}

/// Frees idle buffers, the largest first, until at most `at_most` bytes are idle.
/// @pre mutex_ held.
void BufferPool::drop_idle(int64_t at_most) noexcept {
  for (auto at = free_.rbegin(); at != free_.rend() && idle_bytes_ > at_most; ++at) {
    auto& [size, buffers] = *at;
    while (!buffers.empty() && idle_bytes_ > at_most) {
      release(buffers.back(), size);
      buffers.pop_back();
      idle_bytes_ -= size;
    }
  }
}

// The deleter of every buffer: it must not throw.
void BufferPool::give_back(std::byte* buffer, int64_t bytes) noexcept {
  // used + idle is unchanged: within the bound, or above it until the next take.
  const std::lock_guard lock(mutex_);
  used_bytes_ -= bytes;
  try {
    free_[bytes].push_back(buffer);
    idle_bytes_ += bytes;
  } catch (const std::bad_alloc&) {  // no memory to list it
    release(buffer, bytes);
  }
}

}  // namespace ram
