#include "buffer.h"

#include <new>

namespace ram {
namespace {

constexpr std::align_val_t kAlignment{64};

/// Sizes come in steps of at most an eighth, so that nearly equal asks share buffers.
int64_t size_class(int64_t bytes) {
  int64_t step = 4096;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

}  // namespace

BufferPool::~BufferPool() {
  for (auto& [size, buffers] : free_) {
    for (std::byte* buffer : buffers) ::operator delete(buffer, kAlignment);
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
  }
  if (buffer == nullptr) {
    buffer = static_cast<std::byte*>(::operator new(static_cast<size_t>(size), kAlignment));
  }
  return {buffer,
          [pool = shared_from_this(), size](std::byte* done) { pool->give_back(done, size); }};
}

void BufferPool::give_back(std::byte* buffer, int64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (idle_bytes_ + bytes <= most_idle_bytes_) {
      free_[bytes].push_back(buffer);
      idle_bytes_ += bytes;
      return;
    }
  }
  ::operator delete(buffer, kAlignment);
}

}  // namespace ram
