// verify: checks the folder against its plan, the study's hashes, and its source.
#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ram/build.h"
#include "ram/build_table.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/hash.h"
#include "ram/progress.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "compare_source.h"
#include "file_digest.h"
#include "folder_view.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

/// Digests that were taken when the folder was written, and where they are stored.
struct Known {
  std::string by;
  std::map<std::string, std::string>
      hashes;  ///< by file; an empty digest: the file must exist and is checked elsewhere
};

/// Compares every file with the digests taken when it was written.
void check_hashes(const FolderView& view, std::span<const Known> known, int threads,
                  const Meter& meter, Problems& problems) {
  std::vector<fs::path> paths;
  paths.reserve(view.files.size());
  for (const auto& [name, size] : view.files) paths.push_back(view.out / name);
  const std::vector<std::string> digests =
      file_digests(paths, threads, [&](int64_t bytes) { meter.add(bytes); });
  size_t at = 0;
  for (const auto& [name, size] : view.files) {
    const std::string& digest = digests[at++];
    for (const auto& [by, hashes] : known) {
      const auto found = hashes.find(name);
      if (found == hashes.end()) {
        problems.add("{}: not part of this folder ({} bytes)", name, size);
      } else if (!found->second.empty() && found->second != digest) {
        problems.add("{}: not the bytes that were written", name);
      }
    }
  }
  for (const auto& [by, hashes] : known) {
    for (const auto& [name, digest] : hashes) {
      if (!view.files.contains(name)) problems.add("{}: missing; {} lists it", name, by);
    }
  }
}

/// Adds the digests in plan.json, if it has any. It cannot contain a digest of its own whole text,
/// so its own digest is checked here.
void add_plan_hashes(const Plan& plan, std::vector<Known>& known, Problems& problems) {
  if (plan.file_hashes.empty()) return;  // written by a version without digests
  Known& said = known.emplace_back(Known{.by = "plan.json", .hashes = plan.file_hashes});
  const auto own = said.hashes.find("plan.json");
  if (own == said.hashes.end() || own->second != plan_digest(plan)) {
    problems.add("plan.json: not the bytes that were written");
  }
  said.hashes["plan.json"].clear();
}

/// The study's record of this folder, if it has one. For versions of ram that wrote no digests the
/// key is the hash of the plan's text as it is.
std::optional<BuildRecord> record_of(const FolderView& view, Study& study) {
  const std::vector<fs::path> path = {view.out / "plan.json"};
  const std::string digest = file_digests(path, 1).front();
  for (const std::string& key : {build_key(*view.plan), hash_text(view.plan_text)}) {
    std::optional<BuildRecord> record = BuildTable(study).find(key);
    if (!record) continue;
    // A build that never finished has no hashes, and the same plan may have been built elsewhere
    // since, with other carried files.
    const auto own = record->file_hashes.find("plan.json");
    if (own != record->file_hashes.end() && own->second == digest) return record;
  }
  return std::nullopt;
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
    const int64_t width = dtype_bytes(tensor.info.dtype);
    std::vector<std::byte> buffer(
        static_cast<size_t>(std::min(kDigestChunkBytes, tensor.info.bytes())));
    for (int64_t at = 0; at < tensor.info.bytes(); at += kDigestChunkBytes) {
      check_interrupted();
      const int64_t length = std::min(kDigestChunkBytes, tensor.info.bytes() - at);
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

  std::vector<Known> known;
  add_plan_hashes(*view.plan, known, problems);
  std::optional<BuildRecord> record;
  if (study != nullptr) record = record_of(view, *study);
  if (record) known.push_back({.by = "the study", .hashes = std::move(record->file_hashes)});
  report.contents_known = !known.empty();
  const Meter meter("verify",
                    finite_bytes(view) + (known.empty() ? 0 : view.total_bytes) +
                        (source != nullptr ? source->bytes() : 0),
                    progress);
  check_finite(view, threads, meter, problems);
  if (!known.empty()) check_hashes(view, known, threads, meter, problems);
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
