#include "affine_ref.h"
#include "test_support.h"

namespace ram {
namespace {

Encoded encode(const std::vector<std::byte>& weights, DType source, int64_t rows, int64_t cols,
               AffineFormat format, DType dtype, bool reference) {
  Encoded out(rows * cols, format, dtype);
  (reference ? affine_encode_ref : affine_encode)(weights.data(), source, rows, cols, format, dtype,
                                                  out.codes.data(), out.scales.data(),
                                                  out.biases.data());
  return out;
}

std::vector<float> decode(const Encoded& encoded, int64_t weights, AffineFormat format, DType dtype,
                          bool reference) {
  std::vector<float> out(static_cast<size_t>(weights));
  (reference ? affine_decode_ref : affine_decode)(encoded.codes.data(), encoded.scales.data(),
                                                  encoded.biases.data(), dtype, 1, weights, format,
                                                  out.data());
  return out;
}

/// Encodes and decodes with every vector target and compares with the reference.
void expect_reference_bits(const std::vector<std::byte>& weights, DType source, int64_t rows,
                           int64_t cols, DType dtype, const std::string& what) {
  for (size_t f = 0; f < kAffineFormats.size(); ++f) {
    if ((formats_for_cols(cols) >> f & 1U) == 0) continue;
    const AffineFormat format = kAffineFormats[f];
    const Encoded expected = encode(weights, source, rows, cols, format, dtype, true);
    const std::vector<float> decoded = decode(expected, rows * cols, format, dtype, true);
    on_each_target([&](const char* target) {
      EXPECT_TRUE(encode(weights, source, rows, cols, format, dtype, false) == expected)
          << target << " " << format_name(format) << " " << what;
      const std::vector<float> mine = decode(expected, rows * cols, format, dtype, false);
      EXPECT_EQ(std::memcmp(mine.data(), decoded.data(), mine.size() * sizeof(float)), 0)
          << target << " " << format_name(format) << " " << what;
    });
  }
}

TEST(Encode, EveryKindOfVectorStoresWhatMlxStores) {
  const std::vector<VectorCase> vectors = mlx_vectors();
  on_each_target([&](const char* target) {
    for (const VectorCase& vector : vectors) {
      for (const VectorCase::Format& stored : vector.formats) {
        EXPECT_TRUE(encode(vector.weights, vector.dtype, vector.rows, vector.cols, stored.format,
                           vector.dtype, false) == stored.encoded)
            << target << " " << vector.name << " " << dtype_name(vector.dtype) << " " << vector.cols
            << " " << format_name(stored.format);
      }
    }
  });
}

TEST(Encode, PackingCodesGivesTheBitsOfTheReference) {
  std::mt19937 random(5);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int64_t count : {32, 2048, 2048 + 96}) {
      std::vector<uint8_t> codes(static_cast<size_t>(count));
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % (1U << bits));
      std::vector<uint32_t> expected(static_cast<size_t>(count * bits / 32), 1);
      affine_pack_ref(codes.data(), count, bits, expected.data());
      on_each_target([&](const char* target) {
        std::vector<uint32_t> packed(expected.size(), 2);
        affine_pack(codes.data(), count, bits, packed.data());
        EXPECT_EQ(packed, expected) << target << " " << bits << " bits, " << count;
      });
    }
  }
}

TEST(Encode, EveryKindOfWeightGivesTheBitsOfTheReference) {
  for (const Kind kind : kKinds) {
    const std::vector<float> values = matrix(kind, 384, 11);
    for (const DType dtype : kWeightDtypes) {
      const std::vector<std::byte> weights = as_dtype(values, dtype);
      if (find_non_finite_ref(weights.data(), dtype, 384, dtype) >= 0) continue;
      expect_reference_bits(weights, dtype, 1, 384, dtype,
                            "kind " + std::to_string(static_cast<int>(kind)));
    }
  }
}

TEST(Encode, EveryShapeGivesTheBitsOfTheReference) {
  using RowsAndCols = std::pair<int64_t, int64_t>;
  for (const auto& [rows, cols] :
       {RowsAndCols{1, 32}, {3, 32}, {17, 96}, {3, 160}, {17, 192}, {9, 256}}) {
    const std::vector<std::byte> weights =
        as_dtype(matrix(Kind::kHeavyTail, rows * cols, 12), DType::kBF16);
    expect_reference_bits(weights, DType::kBF16, rows, cols, DType::kBF16,
                          std::to_string(rows) + "x" + std::to_string(cols));
  }
}

TEST(Encode, WeightsAreCastBeforeTheyAreEncoded) {
  const std::vector<float> values = matrix(Kind::kHeavyTail, 256, 13);
  for (const DType source : kWeightDtypes) {
    for (const DType dtype : kWeightDtypes) {
      expect_reference_bits(
          as_dtype(values, source), source, 2, 128, dtype,
          std::string(dtype_name(source)) + " to " + std::string(dtype_name(dtype)));
    }
  }
}

TEST(Encode, EveryF16AndBf16IsCastAsTheReferenceCastsIt) {
  for (const DType source : {DType::kF16, DType::kBF16}) {
    for (const DType dtype : kWeightDtypes) {
      std::vector<std::byte> weights;
      for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        const auto* raw = reinterpret_cast<const std::byte*>(&half);
        if (find_non_finite_ref(raw, source, 1, dtype) < 0)
          weights.insert(weights.end(), raw, raw + 2);
      }
      const int64_t count = static_cast<int64_t>(weights.size()) / 2 / 32 * 32;
      const AffineFormat format = {8, 32};
      const Encoded expected = encode(weights, source, 1, count, format, dtype, true);
      on_each_target([&](const char* target) {
        EXPECT_TRUE(encode(weights, source, 1, count, format, dtype, false) == expected)
            << target << " " << dtype_name(source) << " to " << dtype_name(dtype);
      });
    }
  }
}

TEST(FindNonFinite, FindsTheFirstOneWhereverItIs) {
  for (const DType dtype : kWeightDtypes) {
    for (const float bad :
         {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
          std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> values = matrix(Kind::kGaussian, 421, 14);
      for (const int64_t at : {420, 419, 300, 255, 128, 127, 64, 31, 1, 0}) {
        values[static_cast<size_t>(at)] = bad;
        const std::vector<std::byte> weights = as_dtype(values, dtype);
        on_each_target([&](const char* target) {
          EXPECT_EQ(find_non_finite(weights.data(), dtype, 421, dtype), at)
              << target << " " << dtype_name(dtype) << " " << bad;
          EXPECT_EQ(find_non_finite(weights.data(), dtype, at, dtype), -1) << target;
        });
      }
    }
  }
}

TEST(FindNonFinite, KnowsWhichValuesOverflowWhenCast) {
  std::vector<float> edges;
  for (const float edge : {65504.0F, 65519.996F, 65520.0F, 65536.0F, 3.3895314e38F, 3.3961776e38F,
                           3.4028235e38F, 0.0F, 1e-45F}) {
    const float beyond = std::numeric_limits<float>::infinity();
    for (const float next : {0.0F, beyond, -beyond}) {
      const float value = next == 0.0F ? edge : std::nextafter(edge, next);
      if (std::isfinite(value)) edges.insert(edges.end(), {value, -value});
    }
  }
  for (const DType source : kWeightDtypes) {
    const std::vector<std::byte> weights = as_dtype(edges, source);
    const size_t element = weights.size() / edges.size();
    for (const DType dtype : kWeightDtypes) {
      for (size_t i = 0; i < edges.size(); ++i) {
        const std::byte* one = weights.data() + i * element;
        const int64_t expected = find_non_finite_ref(one, source, 1, dtype);
        on_each_target([&](const char* target) {
          EXPECT_EQ(find_non_finite(one, source, 1, dtype), expected)
              << target << " " << edges[i] << " " << dtype_name(source) << " to "
              << dtype_name(dtype);
        });
      }
    }
  }
}

}  // namespace
}  // namespace ram
