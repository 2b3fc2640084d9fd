// verify: the folder against its plan, against the hashes that the study has of it, and against its
// source.
#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ram/build.h"
#include "ram/error.h"
#include "ram/hash.h"
#include "ram/size.h"

#include "compare_source.h"
#include "file_digest.h"
#include "folder_job.h"
#include "folder_view.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

/// Compares every file with the digest taken when it was written.
void check_hashes(const FolderView& view, const BuildRecord& record, int threads,
                  const Meter& meter, Problems& problems) {
  struct Chunk {
    size_t file = 0;
    int64_t index = 0;
  };
  std::deque<InputFile> files;
  std::vector<std::vector<std::string>> digests;
  std::vector<Chunk> chunks;
  for (const auto& [name, digest] : record.file_hashes) {
    if (!view.files.contains(name)) {
      problems.add("{}: missing; the study knows it", name);
      continue;
    }
    const InputFile& file = files.emplace_back(view.out / name);
    const int64_t count = ceil_div(file.size(), kChunkBytes);
    for (int64_t i = 0; i < count; ++i) chunks.push_back({.file = files.size() - 1, .index = i});
    digests.emplace_back(static_cast<size_t>(count));
  }
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(threads));
  parallel_for(threads, static_cast<int64_t>(chunks.size()), [&](int64_t i, int worker) {
    check_interrupted();
    std::vector<std::byte>& buffer = buffers[static_cast<size_t>(worker)];
    buffer.resize(static_cast<size_t>(kChunkBytes));
    const Chunk& chunk = chunks[static_cast<size_t>(i)];
    digests[chunk.file][static_cast<size_t>(chunk.index)] =
        chunk_digest(files[chunk.file], chunk.index, buffer);
    meter.add(kChunkBytes);
  });
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string name = files[i].path().lexically_relative(view.out).generic_string();
    if (join_digests(digests[i]) != record.file_hashes.at(name)) {
      problems.add("{}: not the bytes that were written", name);
    }
  }
  for (const auto& [name, size] : view.files) {
    if (!record.file_hashes.contains(name)) {
      problems.add("{}: not part of this folder ({} bytes)", name, size);
    }
  }
}

/// Scales, biases and unquantized tensors must be finite: one NaN spoils every output.
void check_finite(const FolderView& view, int threads, const Meter& meter, Problems& problems) {
  std::vector<const FoundTensor*> tensors;
  for (const auto& [name, found] : view.tensors) {
    if (is_weight_dtype(found.info.dtype)) tensors.push_back(&found);
  }
  std::vector<int64_t> first_bad(tensors.size(), -1);
  parallel_for(threads, static_cast<int64_t>(tensors.size()), [&](int64_t i, int) {
    const FoundTensor& tensor = *tensors[static_cast<size_t>(i)];
    const int64_t width = dtype_bits(tensor.info.dtype) / 8;
    std::vector<std::byte> buffer(static_cast<size_t>(std::min(kChunkBytes, tensor.info.bytes())));
    for (int64_t at = 0; at < tensor.info.bytes(); at += kChunkBytes) {
      check_interrupted();
      const int64_t length = std::min(kChunkBytes, tensor.info.bytes() - at);
      const auto part = std::span(buffer).first(static_cast<size_t>(length));
      tensor.file->read(tensor.info.begin + at, part);
      const int64_t bad =
          find_non_finite(part.data(), tensor.info.dtype, length / width, tensor.info.dtype);
      meter.add(length);
      if (bad < 0) continue;
      first_bad[static_cast<size_t>(i)] = at / width + bad;
      return;
    }
  });
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (first_bad[i] < 0) continue;
    problems.add("tensor {}: element {} is not finite", tensors[i]->info.name, first_bad[i]);
  }
}

int64_t finite_bytes(const FolderView& view) {
  int64_t bytes = 0;
  for (const auto& [name, found] : view.tensors) {
    if (is_weight_dtype(found.info.dtype)) bytes += found.info.bytes();
  }
  return bytes;
}

VerifyReport verify(const fs::path& out, const Checkpoint* source, Study* study, int threads,
                    const ProgressFn& progress) {
  Problems problems;
  VerifyReport report;
  const FolderView view = read_folder(out, problems);
  report.total_bytes = view.total_bytes;
  if (!view.plan) {
    report.problems = problems.take();
    return report;
  }
  report.units = static_cast<int64_t>(view.plan->units.size());
  const std::vector<FoundUnit> units = check_tensors(view, problems);
  check_config(view, problems);
  check_totals(view, problems);

  std::optional<BuildRecord> record;
  if (study != nullptr) record = study->build(hash_text(view.plan_text));
  if (record && record->file_hashes.empty()) record.reset();  // its build never ended
  const Meter meter("verify",
                    finite_bytes(view) + (record ? view.total_bytes : 0) +
                        (source != nullptr ? source->bytes() : 0),
                    progress);
  check_finite(view, threads, meter, problems);
  report.contents_known = record.has_value();
  if (record) check_hashes(view, *record, threads, meter, problems);
  if (source != nullptr) {
    report.largest_error_ratio =
        compare_source(view, units, *source, study, threads, meter, problems);
  }
  report.problems = problems.take();
  return report;
}

}  // namespace

VerifyReport verify_folder(const fs::path& out, const Checkpoint* source, Study* study, int threads,
                           const ProgressFn& progress) {
  try {
    return verify(out, source, study, threads, progress);
  } catch (const fs::filesystem_error& error) {
    fail(Code::kMissing, "cannot read {}: {}: {}", out.string(), error.path1().string(),
         error.code().message());
  }
}

}  // namespace ram
