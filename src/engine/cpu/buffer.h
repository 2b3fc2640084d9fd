// Aligned memory that is reused: a forward pass requests the same sizes repeatedly, and fresh pages
// cost as much as a small product.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "matrix.h"

namespace ram {

/// Hands out 64-byte aligned buffers, takes them back, and reuses them. It holds, in use and idle,
/// at most keep_idle more than the peak that was in use at one time. Safe to use from several
/// threads; kept alive by its buffers.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  ~BufferPool();
  /// @return at least `bytes` bytes, not initialised; returned to the pool by the last owner.
  /// @throws std::bad_alloc; the account is unchanged.
  std::shared_ptr<std::byte> take(int64_t bytes);
  /// Keeps up to this many bytes of unused buffers even at the peak of use; the largest value
  /// passed so far counts. The steps of a layer need different sizes, and clearing pages costs as
  /// much as a small product.
  void keep_idle(int64_t bytes);

  struct Account {
    int64_t used_bytes = 0;
    int64_t idle_bytes = 0;
  };
  Account account() const;

 private:
  void give_back(std::byte* buffer, int64_t bytes) noexcept;
  void drop_idle(int64_t at_most) noexcept;

  mutable std::mutex mutex_;
  int64_t spare_bytes_ = 0;
  int64_t used_bytes_ = 0;
  int64_t most_used_bytes_ = 0;
  int64_t idle_bytes_ = 0;
  std::map<int64_t, std::vector<std::byte*>> free_;  // by size
};

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

}  // namespace ram
