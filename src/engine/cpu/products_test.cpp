#include "cpu/products.h"

#include <cmath>
#include <fstream>
#include <new>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/thread.h"

#include "cpu/buffer.h"
#include "cpu/kernels.h"
#include "support/sanitizers.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

struct Packed {
  Packed(Products& products, const std::vector<float>& weights, int64_t n, int64_t k)
      : buffers(std::make_shared<BufferPool>()), bytes(buffers->take(products.packed_bytes(n, k))) {
    products.pack(weights.data(), n, k, bytes.get());
  }
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<std::byte> bytes;
};

/// x [rows, k] times packed weights, in an output matrix `extra` columns wider than necessary.
std::vector<float> multiply(Products& products, const Packed& packed, const std::vector<float>& x,
                            int64_t rows, int64_t n, int64_t k, int64_t extra = 0) {
  std::vector<float> input(static_cast<size_t>(padded_rows(rows) * k));
  std::copy_n(x.begin(), rows * k, input.begin());
  std::vector<uint16_t> halves(input.size());
  narrow_row_to_bf16(input.data(), std::ssize(input), halves.data());
  const int64_t stride = n + extra;
  std::vector<float> y(static_cast<size_t>(padded_rows(rows) * stride));
  products.multiply({.x = input.data(),
                     .x_bf16 = halves.data(),
                     .rows = rows,
                     .packed = packed.bytes.get(),
                     .n = n,
                     .k = k,
                     .y = y.data(),
                     .y_stride = stride});
  std::vector<float> out;
  for (int64_t i = 0; i < rows; ++i) out.insert(out.end(), &y[i * stride], &y[i * stride + n]);
  return out;
}

TEST(Products, AgreeWithSumsInDoublePrecision) {
  Products products(Precision::kF32);
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{64, 32}, {96, 64}, {33, 130}, {1, 7}}) {
    const auto w = testing::random_values(n * k, 1);
    const Packed packed(products, w, n, k);
    for (const int64_t rows : {5, 16, 100, 256}) {
      const auto x = testing::random_values(rows * k, 2);
      const auto y = multiply(products, packed, x, rows, n, k, 5);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < k; ++l) {
            sum += double{x[i * k + l]} * double{w[j * k + l]};
          }
          ASSERT_NEAR(y[i * n + j], sum, 1e-5 * std::sqrt(static_cast<double>(k)) * 4);
        }
      }
    }
  }
}

TEST(Products, GiveARowTheSameBitsWhateverRowsComeWithItInItsBlock) {
  Products products(Precision::kF32);
  const int64_t n = 192;
  const int64_t k = 320;
  const Packed packed(products, testing::random_values(n * k, 3), n, k);
  const auto x = testing::random_values(kRowBlock * k, 4);
  auto other = testing::random_values(kRowBlock * k, 5);
  const int64_t row = 37;
  std::copy_n(&x[row * k], k, &other[row * k]);
  const auto a = multiply(products, packed, x, kRowBlock, n, k);
  const auto b = multiply(products, packed, other, kRowBlock, n, k);
  for (int64_t j = 0; j < n; ++j) ASSERT_EQ(a[row * n + j], b[row * n + j]);
}

TEST(Products, AreTheSameOnAnyThread) {
  Products products(Precision::kF32);
  const int64_t n = 128;
  const int64_t k = 256;
  const Packed packed(products, testing::random_values(n * k, 6), n, k);
  const auto x = testing::random_values(kRowBlock * k, 7);
  const auto expected = multiply(products, packed, x, kRowBlock, n, k);
  ThreadPool pool(3);
  pool.run(12, [&](int64_t, int) {
    EXPECT_EQ(multiply(products, packed, x, kRowBlock, n, k), expected);
  });
}

TEST(Products, OfBf16AreThoseOfRoundedNumbers) {
  Products exact(Precision::kF32);
  Products products(Precision::kBF16);
  const int64_t n = 64;
  const int64_t k = 96;
  auto w = testing::random_values(n * k, 8);
  auto x = testing::random_values(100 * k, 9);
  round_row_to_bf16(w.data(), std::ssize(w));
  round_row_to_bf16(x.data(), std::ssize(x));
  const auto a = multiply(products, Packed(products, w, n, k), x, 100, n, k);
  const auto b = multiply(exact, Packed(exact, w, n, k), x, 100, n, k);
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-4);
}

#if !RAM_SANITIZED && defined(__linux__)
// oneDNN does not check all its allocations: a small limit on address space must not crash the
// program. @return 0: all is packed, 3: refused for memory.
int pack_within(rlim_t room) {
  const int64_t sizes[] = {64, 96, 160, 256, 320, 33, 130, 72};
  constexpr int64_t kMost = 320 * 320;
  const auto weights = testing::random_values(kMost, 1);
  const int64_t count = std::ssize(sizes) * std::ssize(sizes);
  std::vector<std::vector<float>> packed(static_cast<size_t>(count),
                                         std::vector<float>(static_cast<size_t>(2 * kMost)));
  ThreadPool pool(3);
  pool.run(3, [](int64_t, int) {});
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  const rlim_t most = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + room;
  const rlimit limit = {.rlim_cur = most, .rlim_max = most};
  setrlimit(RLIMIT_AS, &limit);
  try {
    Products products(Precision::kF32);
    pool.run(count, [&](int64_t i, int) {
      const int64_t n = sizes[i % std::ssize(sizes)];
      const int64_t k = sizes[i / std::ssize(sizes)];
      if (products.packed_bytes(n, k) > 8 * kMost) return;
      products.pack(weights.data(), n, k,
                    reinterpret_cast<std::byte*>(packed[static_cast<size_t>(i)].data()));
    });
  } catch (const std::bad_alloc&) {
    return 3;
  }
  return 0;
}

TEST(Products, PackingWithoutMemoryIsRefused) {
  int refused = 0;
  for (rlim_t room = 0; room <= rlim_t{64} << 20; room += rlim_t{1} << 20) {
    const pid_t child = fork();
    if (child == 0) _exit(pack_within(room));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << room << ": signal " << WTERMSIG(status);
    ASSERT_THAT(WEXITSTATUS(status), ::testing::AnyOf(0, 3)) << room;
    refused += WEXITSTATUS(status) == 3 ? 1 : 0;
  }
  EXPECT_GT(refused, 0);
}
#endif

}  // namespace
}  // namespace ram
