// What the header reader accepts; everything else is refused with one clear line.
#include "ram/safetensors.h"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/corrupt_inputs.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string with_length(const std::string& json, uint64_t length) {
  std::string bytes;
  for (size_t i = 0; i < 8; ++i) bytes += static_cast<char>((length >> (8 * i)) & 0xff);
  return bytes + json;
}

std::string file_of(const std::string& json, size_t data_bytes) {
  return with_length(json, json.size()) + std::string(data_bytes, 'x');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), static_cast<int64_t>(file.size()),
                                  "x.safetensors");
}

/// Checks that a file is refused with this code, a message of one line that names file and reason.
void expect_refused(const std::string& file, Code code, const std::string& reason) {
  SCOPED_TRACE(reason);
  try {
    parse(file);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_THAT(error.what(), HasSubstr(reason));
    EXPECT_THAT(error.what(), HasSubstr("x.safetensors"));
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    EXPECT_LT(std::string_view(error.what()).size(), 500U);
  }
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

TEST(Safetensors, what_is_rendered_reads_back) {
  const std::vector<TensorSpec> specs = {{"b", DType::kBF16, {3, 5}},
                                         {"a \"quoted\" n\xc3\xa4me", DType::kF32, {}},
                                         {"none", DType::kI64, {0, 7}},
                                         {"packed", DType::kF6E2M3, {4}},
                                         {"half", DType::kF4, {2, 3}}};
  const std::string head = render_safetensors_header(specs, {{"format", "mlx"}});
  EXPECT_EQ(head.size() % 8, 0U);
  const SafetensorsHeader header = parse(head + std::string(30 + 4 + 0 + 3 + 3, 'x'));
  EXPECT_EQ(header.metadata.at("format"), "mlx");
  ASSERT_EQ(header.tensors.size(), specs.size());
  int64_t position = static_cast<int64_t>(head.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(header.tensors[i].name, specs[i].name);
    EXPECT_EQ(header.tensors[i].dtype, specs[i].dtype);
    EXPECT_EQ(header.tensors[i].shape, specs[i].shape);
    EXPECT_EQ(header.tensors[i].begin, position);
    EXPECT_EQ(header.tensors[i].bytes(), specs[i].bytes());
    EXPECT_EQ(header.tensors[i].elements(), specs[i].elements());
    position += specs[i].bytes();
  }
}

TEST(Safetensors, every_dtype_of_the_format_is_read_and_written) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    const std::vector<TensorSpec> specs = {{"t", dtype, {8}}};
    const std::string head = render_safetensors_header(specs, {});
    const auto bytes = static_cast<size_t>(dtype_bits(dtype));
    const SafetensorsHeader header = parse(head + std::string(bytes, 'x'));
    EXPECT_EQ(header.tensors.at(0).dtype, dtype);
    EXPECT_EQ(header.tensors.at(0).bytes(), static_cast<int64_t>(bytes));
  }
}

TEST(Safetensors, rendered_bytes_are_exactly_the_documented_ones) {
  const std::vector<TensorSpec> specs = {{"w", DType::kF16, {2, 1}}, {"v", DType::kU8, {1}}};
  const std::string json = R"({"__metadata__":{"format":"mlx"},)"
                           R"("w":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},)"
                           R"("v":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}})";
  const std::string padded = json + std::string((8 - json.size() % 8) % 8, ' ');
  EXPECT_EQ(render_safetensors_header(specs, {{"format", "mlx"}}),
            with_length(padded, padded.size()));
}

TEST(Safetensors, tensors_come_in_the_order_of_their_data) {
  const SafetensorsHeader header = parse(file_of("{" + tensor("a", "U8", "[2]", "[3,5]") + "," +
                                                     tensor("z", "U8", "[0]", "[3,3]") + "," +
                                                     tensor("m", "U8", "[3]", "[0,3]") + "}   \n",
                                                 5));
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[0].name, "m");
  EXPECT_EQ(header.tensors[1].name, "z");
  EXPECT_EQ(header.tensors[2].name, "a");
}

TEST(Safetensors, a_file_without_tensors_is_a_file) {
  EXPECT_TRUE(parse(file_of("{}", 0)).tensors.empty());
  EXPECT_TRUE(parse(file_of(R"({"__metadata__":null})", 0)).metadata.empty());
}

TEST(Safetensors, empty_cut_and_lying_headers_are_refused) {
  expect_refused("", Code::kCorrupt, "0 bytes are not a safetensors file");
  expect_refused("1234567", Code::kCorrupt, "7 bytes are not a safetensors file");
  expect_refused(with_length("", 0), Code::kCorrupt, "header of 0 bytes");
  expect_refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                 Code::kMissing, "git lfs pull");
  expect_refused(with_length("{}", 3), Code::kCorrupt, "truncated");
  expect_refused(with_length("{}", 1ULL << 40), Code::kCorrupt, "at most 100000000");
  expect_refused(with_length("{}", ~0ULL), Code::kCorrupt, "at most 100000000");
  expect_refused(file_of("<html>", 0), Code::kCorrupt, "does not begin with '{'");
  expect_refused(file_of(" {}", 0), Code::kCorrupt, "does not begin with '{'");
  expect_refused(file_of("{", 9), Code::kCorrupt, "header of 1 bytes");
  expect_refused(file_of("{\"a\"", 9), Code::kCorrupt, "not valid JSON");
  expect_refused(file_of("{}{}", 0), Code::kCorrupt, "not valid JSON");
  expect_refused(file_of("{\"a\xff\":1}", 0), Code::kCorrupt, "not valid JSON");
}

TEST(Safetensors, what_is_no_tensor_is_refused) {
  expect_refused(file_of(R"({"a":5})", 0), Code::kCorrupt, "a number is unexpected");
  expect_refused(file_of(R"({"a":null})", 0), Code::kCorrupt, "null is unexpected");
  expect_refused(file_of(R"({"a":"x"})", 0), Code::kCorrupt, "a string is unexpected");
  expect_refused(file_of(R"({"a":[]})", 0), Code::kCorrupt, "a list is unexpected");
  expect_refused(file_of(R"({"a":{}})", 0), Code::kCorrupt, "dtype is missing");
  expect_refused(file_of(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0), Code::kCorrupt,
                 "shape is missing");
  expect_refused(file_of(R"({"a":{"dtype":"U8","shape":[]}})", 1), Code::kCorrupt,
                 "data_offsets is missing");
  expect_refused(file_of(R"({"a":{"dtype":5}})", 0), Code::kCorrupt, "a number is unexpected");
  expect_refused(file_of(R"({"a":{"dtype":"U8","extra":1}})", 0), Code::kCorrupt,
                 "unknown key 'extra'");
  expect_refused(file_of(R"({"a":{"dtype":"U8","dtype":"U8"}})", 0), Code::kCorrupt,
                 "appears twice");
  expect_refused(file_of(R"({"__metadata__":{"a":1}})", 0), Code::kCorrupt,
                 "a number is unexpected");
  expect_refused(file_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0), Code::kCorrupt,
                 "appears twice");
  expect_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), Code::kCorrupt,
                 "appears twice");
  expect_refused(file_of("{" + tensor("a", "Q7", "[1]", "[0,1]") + "}", 1), Code::kUnsupported,
                 "unknown dtype 'Q7'");
  expect_refused(file_of("{" + tensor("a", "U8", "[1]", "[0,1]") + "," +
                             tensor("a", "U8", "[1]", "[1,2]") + "}",
                         2),
                 Code::kCorrupt, "tensor a appears twice");
}

TEST(Safetensors, deep_nesting_is_refused_before_it_costs_anything) {
  const std::string deep(1'000'000, '[');
  expect_refused(file_of("{\"a\":" + deep, 0), Code::kCorrupt, "a list is unexpected");
  expect_refused(file_of(R"({"a":{"shape":)" + deep, 0), Code::kCorrupt, "a list is unexpected");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_refused(file_of(objects, 0), Code::kCorrupt, "unknown key 'a'");
  expect_refused(file_of(R"({"a":{"dtype":)" + objects, 0), Code::kCorrupt,
                 "an object is unexpected");
}

TEST(Safetensors, offsets_that_are_no_plain_integers_are_refused) {
  for (const char* bad : {"[-1,3]", "[0,-3]", "[0,1e3]", "[0.0,1]", "[0,1.0]",
                          "[0,18446744073709551616]", "[0,9223372036854775808]"}) {
    expect_refused(file_of("{" + tensor("a", "U8", "[3]", bad) + "}", 3), Code::kCorrupt,
                   "in its data_offsets: plain integers");
  }
  for (const char* bad : {"[]", "[0]", "[0,1,3]"}) {
    expect_refused(file_of("{" + tensor("a", "U8", "[3]", bad) + "}", 3), Code::kCorrupt,
                   "must be two numbers");
  }
  expect_refused(file_of("{" + tensor("a", "U8", "[3]", "[\"0\",3]") + "}", 3), Code::kCorrupt,
                 "a string is unexpected");
}

TEST(Safetensors, offsets_that_do_not_tile_the_data_are_refused) {
  expect_refused(file_of("{" + tensor("a", "U8", "[3]", "[3,0]") + "}", 3), Code::kCorrupt,
                 "reversed");
  expect_refused(file_of("{" + tensor("a", "U8", "[4]", "[0,4]") + "}", 3), Code::kCorrupt,
                 "reach past the 3 bytes");
  expect_refused(file_of("{" + tensor("a", "U8", "[2]", "[0,2]") + "," +
                             tensor("b", "U8", "[2]", "[1,3]") + "}",
                         3),
                 Code::kCorrupt, "tensor b: begins at byte 1 of the data, overlapping");
  expect_refused(file_of("{" + tensor("a", "U8", "[1]", "[0,1]") + "," +
                             tensor("b", "U8", "[1]", "[2,3]") + "}",
                         3),
                 Code::kCorrupt, "leaving a hole");
  expect_refused(file_of("{" + tensor("a", "U8", "[2]", "[1,3]") + "}", 3), Code::kCorrupt,
                 "leaving a hole");
  expect_refused(file_of("{" + tensor("a", "U8", "[2]", "[0,2]") + "}", 3), Code::kCorrupt,
                 "3 bytes of data, but the tensors cover 2");
}

TEST(Safetensors, shapes_that_lie_or_overflow_are_refused) {
  expect_refused(file_of("{" + tensor("a", "F32", "[2]", "[0,4]") + "}", 4), Code::kCorrupt,
                 "shape [2] of F32 is 8 bytes");
  expect_refused(file_of("{" + tensor("a", "U8", "[-3]", "[0,3]") + "}", 3), Code::kCorrupt,
                 "-3 in its shape");
  expect_refused(file_of("{" + tensor("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}", 0),
                 Code::kCorrupt, "overflows");
  expect_refused(file_of("{" + tensor("a", "F32", "[2305843009213693952]", "[0,0]") + "}", 0),
                 Code::kCorrupt, "overflows");
  expect_refused(file_of("{" + tensor("a", "F32", "[0,4294967296,4294967296]", "[0,0]") + "}", 0),
                 Code::kCorrupt, "overflows");
  expect_refused(file_of("{" + tensor("a", "F4", "[3]", "[0,1]") + "}", 1), Code::kCorrupt,
                 "does not fill whole bytes");
  expect_refused(
      file_of("{" + tensor("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]") + "}", 1),
      Code::kCorrupt, "more than 16 axes");
}

TEST(Safetensors, messages_stay_one_line_whatever_the_names_are) {
  expect_refused(
      file_of("{" + tensor("a\\nb" + std::string(5000, 'n'), "Q7", "[1]", "[0,1]") + "}", 1),
      Code::kUnsupported,
      "tensor a\xEF\xBF\xBD"
      "b");
}

TEST(Safetensors, nineteen_thousand_tensors_parse_at_once) {
  std::vector<TensorSpec> specs;
  specs.reserve(19'000);
  for (int i = 0; i < 19'000; ++i) {
    specs.push_back({"model.layers." + std::to_string(i / 400) + ".mlp.experts." +
                         std::to_string(i % 400) + ".down_proj.weight",
                     DType::kBF16,
                     {2, 3}});
  }
  const std::string file = render_safetensors_header(specs, {}) + std::string(19'000 * 12, 'x');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse(file).tensors.size(), specs.size());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  RecordProperty("milliseconds", static_cast<int>(took.count() * 1000));
  // The limit for a release build on an idle machine is 0.2 s (it takes 0.02 s); sanitizers take
  // ten times as long.
  EXPECT_LT(took.count(), 4.0);
}

TEST(Safetensors, a_file_is_read_as_its_bytes_are_parsed) {
  const testing::TempFolder folder;
  const std::vector<TensorSpec> specs = {{"t", DType::kF16, {2, 2}}};
  testing::write_tensors(folder / "t.safetensors", specs, [](const TensorSpec&) {
    return std::vector<float>{1, 2, 3, 4};
  });
  const SafetensorsHeader header = read_safetensors_header(folder / "t.safetensors");
  ASSERT_EQ(header.tensors.size(), 1U);
  std::vector<std::byte> bytes(8);
  InputFile(folder / "t.safetensors").read(header.tensors[0].begin, bytes);
  std::vector<float> floats(4);
  to_f32(bytes.data(), DType::kF16, 4, floats.data());
  EXPECT_EQ(floats, (std::vector<float>{1, 2, 3, 4}));

  write_file_atomic(folder / "short.safetensors", "abc");
  EXPECT_THROW(read_safetensors_header(folder / "short.safetensors"), Error);
  try {
    read_safetensors_header(folder / "absent.safetensors");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kMissing);
  }
}

TEST(Safetensors, kept_corrupt_inputs_are_refused) {
  testing::replay_corrupt_inputs("safetensors", parse);
}

}  // namespace
}  // namespace ram
