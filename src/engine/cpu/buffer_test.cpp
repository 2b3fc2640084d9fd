#include "cpu/buffer.h"

#include <limits>
#include <memory>
#include <new>

#include <gtest/gtest.h>

#include "support/sanitizers.h"

namespace ram {
namespace {

#if !RAM_SANITIZED  // there, an allocation that fails ends the program
TEST(BufferPool, KeepsItsAccountsWhereMemoryIsRefused) {
  const auto pool = std::make_shared<BufferPool>();
  const auto held = pool->take(1000);
  const auto before = pool->account();
  EXPECT_GT(before.used_bytes, 1000);
  constexpr int64_t kTooMuch = std::numeric_limits<int64_t>::max() / 4;
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW((void)pool->take(kTooMuch), std::bad_alloc);
    EXPECT_EQ(pool->account().used_bytes, before.used_bytes);
    EXPECT_EQ(pool->account().idle_bytes, 0);
  }
  { const auto other = pool->take(5'000'000); }
  EXPECT_EQ(pool->account().used_bytes, before.used_bytes);
}
#endif

}  // namespace
}  // namespace ram
