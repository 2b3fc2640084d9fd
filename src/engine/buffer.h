// Aligned memory that is used again: a forward pass asks for the same sizes over and over, and
// fresh pages cost as much as a small product does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ram {

/// Bytes kept readable and writable past the end of every buffer, for vectors that hang over.
inline constexpr int64_t kSlackBytes = 64;

/// Hands out 64-byte aligned buffers, takes them back, and hands them out again. Safe to use from
/// several threads; outlives its buffers by being shared.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  /// @param most_idle_bytes what it may hold that nobody uses; beyond it, memory goes back.
  explicit BufferPool(int64_t most_idle_bytes) : most_idle_bytes_(most_idle_bytes) {}
  ~BufferPool();
  /// @return at least `bytes` bytes, not initialised; returned to the pool by the last owner.
  std::shared_ptr<std::byte> take(int64_t bytes);

 private:
  void give_back(std::byte* buffer, int64_t bytes);

  const int64_t most_idle_bytes_;
  std::mutex mutex_;
  int64_t idle_bytes_ = 0;
  std::map<int64_t, std::vector<std::byte*>> free_;  // by size
};

}  // namespace ram
