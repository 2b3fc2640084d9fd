#include "growth.h"

#include "ram/error.h"

namespace ram {
namespace {

constexpr size_t kAlways = size_t{16} << 20;  ///< total work allowed even for an empty text

}  // namespace

Growth Growth::of_text(size_t bytes) {
  return {(size_t{64} << 10) + 32 * bytes, kAlways + 1000 * bytes};
}

Growth Growth::of_ids(size_t count) {
  return {(size_t{1} << 20) + 1024 * count, kAlways + 16 * 1024 * count};
}

void Growth::refuse() const {
  fail(Code::kUnsupported,
       "the steps of tokenizer.json expand this text too much: at most {} bytes at a time and {} "
       "in all are supported; look for a Replace, Prepend or token that is too long",
       most_bytes_, most_work_);
}

}  // namespace ram
