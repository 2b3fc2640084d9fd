// A hash map from 64-bit keys to 64-bit values: open addressing, no erasure, one block of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ram {

class FlatMap {
 public:
  static constexpr uint64_t kNone = ~uint64_t{0};  ///< reserved: not a valid key or value

  explicit FlatMap(size_t expected = 0) {
    size_t slots = 16;
    while (slots < 2 * expected) slots *= 2;
    slots_.resize(slots);
  }

  /// @return the value, kNone if there is none.
  uint64_t find(uint64_t key) const {
    for (size_t i = start(key);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].key == key) return slots_[i].value;
      if (slots_[i].key == kNone) return kNone;
    }
  }

  /// Adds or replaces.
  void put(uint64_t key, uint64_t value) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    size_t i = start(key);
    while (slots_[i].key != key && slots_[i].key != kNone) i = (i + 1) & (slots_.size() - 1);
    if (slots_[i].key == kNone) ++count_;
    slots_[i] = {key, value};
  }

  size_t size() const { return count_; }

 private:
  struct Slot {
    uint64_t key = kNone;
    uint64_t value = kNone;
  };

  size_t start(uint64_t key) const {
    key *= 0x9E3779B97F4A7C15U;  // Fibonacci hashing; the well-mixed bits are the high ones
    return (key ^ key >> 32) & (slots_.size() - 1);
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    count_ = 0;
    for (const Slot& slot : old) {
      if (slot.key != kNone) put(slot.key, slot.value);
    }
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace ram
