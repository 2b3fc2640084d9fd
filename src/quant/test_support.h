// Shared by the tests of this module: seeded matrices of every kind, and the vectors made by MLX.
#pragma once

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/quant.h"

#include "support/each_target.h"

namespace ram {

inline constexpr std::array<DType, 3> kWeightDtypes = {DType::kF32, DType::kF16, DType::kBF16};

/// An encoded matrix; comparing two compares every byte.
struct Encoded {
  std::vector<uint32_t> codes;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
  bool operator==(const Encoded&) const = default;

  Encoded(int64_t weights, AffineFormat format, DType dtype)
      : codes(static_cast<size_t>(code_words(weights, format))),
        scales(static_cast<size_t>(scale_bytes(weights, format, dtype))),
        biases(scales.size()) {}
};

inline std::vector<std::byte> as_dtype(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  from_f32(values.data(), dtype, static_cast<int64_t>(values.size()), bytes.data());
  return bytes;
}

/// Seeded normal deviates by the polar method: the same numbers with every standard library.
class Gaussian {
 public:
  explicit Gaussian(uint64_t seed) : bits_(seed) {}
  double operator()() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double u = 0;
    double v = 0;
    double square = 0;
    do {
      u = uniform() * 2 - 1;
      v = uniform() * 2 - 1;
      square = u * u + v * v;
    } while (square >= 1 || square == 0);
    const double factor = std::sqrt(-2 * std::log(square) / square);
    spare_ = v * factor;
    has_spare_ = true;
    return u * factor;
  }
  double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 bits_;
  double spare_ = 0;
  bool has_spare_ = false;
};

/// The values of a test matrix. They are finite, also in every weight dtype, unless the name says
/// otherwise.
enum class Kind {
  kGaussian,
  kHeavyTail,
  kPositive,
  kNegative,
  kFarFromZero,
  kZero,
  kConstant,
  kTiny,
  kDenormal,
  kTies,
  kEqualEnds,
  kSparse,
  kLarge,
  kHugeF32,
};
inline constexpr std::array<Kind, 14> kKinds = {
    Kind::kGaussian,  Kind::kHeavyTail, Kind::kPositive, Kind::kNegative, Kind::kFarFromZero,
    Kind::kZero,      Kind::kConstant,  Kind::kTiny,     Kind::kDenormal, Kind::kTies,
    Kind::kEqualEnds, Kind::kSparse,    Kind::kLarge,    Kind::kHugeF32};

inline float sample(Kind kind, Gaussian& gaussian, int64_t index) {
  const double x = gaussian();
  switch (kind) {
    case Kind::kGaussian:
      return static_cast<float>(x * 0.02);
    case Kind::kHeavyTail:
      return static_cast<float>(x * x * x * 0.05);
    case Kind::kPositive:
      return static_cast<float>(std::abs(x) + 0.2);
    case Kind::kNegative:
      return static_cast<float>(-std::abs(x) - 0.2);
    case Kind::kFarFromZero:
      return static_cast<float>(5 + x * 0.05);
    case Kind::kZero:
      return x < 0 ? -0.0F : 0.0F;
    case Kind::kConstant: {
      const int64_t group = index / 128;
      return static_cast<float>(static_cast<double>(group) * 0.37 - 3);
    }
    case Kind::kTiny:
      return static_cast<float>(x * 1e-7);
    case Kind::kDenormal:
      return static_cast<float>(x * 1e-40);
    case Kind::kTies:
      return static_cast<float>(std::round(x * 20)) / 8;
    case Kind::kEqualEnds:
      return static_cast<float>(std::min(1.0, std::max(-1.0, x)));
    case Kind::kSparse:
      return gaussian.uniform() < 0.9 ? 0.0F : static_cast<float>(x);
    case Kind::kLarge:
      return static_cast<float>(x * 5000);
    case Kind::kHugeF32:
      return static_cast<float>(std::min(1.0, std::max(-1.0, x / 3)) * 3e38);
  }
  return 0;
}

inline std::vector<float> matrix(Kind kind, int64_t weights, uint64_t seed) {
  Gaussian gaussian(seed);
  std::vector<float> values(static_cast<size_t>(weights));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = sample(kind, gaussian, static_cast<int64_t>(i));
  }
  return values;
}

/// One case of tests/vectors/quant/mlx.bin; make_vectors.py beside it describes the file.
struct VectorCase {
  struct Format {
    AffineFormat format;
    Encoded encoded;
    std::vector<float> decoded_row;  ///< f32 only
  };
  std::string name;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<std::byte> weights;
  std::vector<Format> formats;
};

template <typename T>
void read_into(std::istream& in, std::vector<T>& out) {
  in.read(reinterpret_cast<char*>(out.data()),
          static_cast<std::streamsize>(out.size() * sizeof(T)));
  RAM_CHECK(static_cast<size_t>(in.gcount()) == out.size() * sizeof(T));
}

inline std::vector<VectorCase> mlx_vectors() {
  std::ifstream in(RAM_SOURCE_DIR "/tests/vectors/quant/mlx.bin", std::ios::binary);
  RAM_CHECK(in.good());
  std::vector<VectorCase> cases;
  std::string line;
  while (std::getline(in, line)) {
    VectorCase next;
    std::string dtype;
    std::string formats;
    std::istringstream(line) >> next.name >> dtype >> next.rows >> next.cols >> formats;
    next.dtype = parse_weight_dtype(dtype).value();
    const int64_t weights = next.rows * next.cols;
    next.weights.resize(static_cast<size_t>(weights * dtype_bytes(next.dtype)));
    read_into(in, next.weights);
    std::istringstream list(formats);
    for (std::string text; std::getline(list, text, ',');) {
      const AffineFormat format = parse_format(text).value();
      VectorCase::Format stored = {format, Encoded(weights, format, next.dtype), {}};
      read_into(in, stored.encoded.codes);
      read_into(in, stored.encoded.scales);
      read_into(in, stored.encoded.biases);
      if (next.dtype == DType::kF32) {
        stored.decoded_row.resize(static_cast<size_t>(next.cols));
        read_into(in, stored.decoded_row);
      }
      next.formats.push_back(std::move(stored));
    }
    cases.push_back(std::move(next));
  }
  return cases;
}

}  // namespace ram
