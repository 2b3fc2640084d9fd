// The order of work that makes OUT whole or absent: checks, staging, shards, small files, the
// study's record, one rename.
#include "ram/build.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ram/build_table.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/hash.h"
#include "ram/progress.h"

#include "file_digest.h"
#include "folder_job.h"
#include "out_folder.h"
#include "shard_writer.h"
#include "staging.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

const std::string& plan_text(const FolderLayout& layout) {
  const auto found =
      std::find_if(layout.rendered.begin(), layout.rendered.end(),
                   [](const RenderedFile& file) { return file.name == "plan.json"; });
  RAM_CHECK(found != layout.rendered.end());
  return found->text;
}

/// A digest of everything that determines the folder's bytes. For the source it covers the identity
/// of the files: finished shards are kept only if no source file was touched.
std::string key_of(const Checkpoint& checkpoint, const FolderLayout& layout) {
  Hasher hasher;
  const auto add = [&](std::string_view text) {
    hasher.update(fmt::format("{}:", text.size()));
    hasher.update(text);
  };
  const auto add_identity = [&](const FileIdentity& id) {
    add(fmt::format("{} {} {} {} {}", id.size, id.mtime_ns, id.ctime_ns, id.inode, id.device));
  };
  for (const InputFile& file : checkpoint.files) {
    add(file.path().string());
    add_identity(file.identity());
  }
  for (const RenderedFile& file : layout.rendered) {
    add(file.name);
    add(file.text);
  }
  for (const Shard& shard : layout.shards) {
    add(shard.name);
    add(shard.header);
  }
  return hasher.digest();
}

void check_space(const Staging& staging, const FolderLayout& layout, const fs::path& out) {
  const int64_t needed = layout.total_bytes() - staging.finished_bytes();
  const int64_t available = free_bytes(staging.folder());
  if (needed <= available) return;
  fail(Code::kWriteFailed,
       "no space for {}: {} bytes needed, {} free, {} missing: make room, or choose another disk",
       out.string(), needed, available, needed - available);
}

std::string copy_file(const fs::path& from, const fs::path& to, int64_t bytes) {
  const InputFile in(from);
  if (in.size() != bytes) {
    fail(Code::kCorrupt, "{}: {} bytes now, {} when the model was opened: run it again",
         from.string(), in.size(), bytes);
  }
  DigestedFile out(to, bytes);
  std::vector<std::byte> buffer(static_cast<size_t>(kDigestChunkBytes));
  for (int64_t at = 0; at < bytes; at += kDigestChunkBytes) {
    const auto part =
        std::span(buffer).first(static_cast<size_t>(std::min(kDigestChunkBytes, bytes - at)));
    in.read(at, part);
    out.write(at, part);
  }
  return out.finish();
}

std::string write_text(const fs::path& path, const std::string& text) {
  DigestedFile file(path, static_cast<int64_t>(text.size()));
  file.write(0, std::as_bytes(std::span(text)));
  return file.finish();
}

/// Makes the parent folders of a name below `folder`.
void make_parents(const fs::path& folder, const fs::path& name) {
  fs::path parent = folder;
  for (const fs::path& part : name.parent_path()) make_folder(parent /= part);
}

/// Rereads the files that an earlier run finished and forgets those whose digest differs: the disk
/// may have damaged them since, or the state may describe another file.
void check_finished(const FolderLayout& layout, Staging& staging, int threads,
                    const ProgressFn& progress) {
  int64_t read = 0;
  const int64_t total = staging.finished_bytes();
  std::mutex reading;
  for (const Shard& shard : layout.shards) {
    const std::optional<std::string> digest = staging.finished(shard.name);
    if (!digest) continue;
    const std::vector<fs::path> path = {staging.folder() / shard.name};
    const auto done = [&](int64_t bytes) {
      const std::lock_guard lock(reading);
      read += bytes;
      if (progress) progress({.phase = "check", .done = read, .total = total});
    };
    if (file_digests(path, threads, done).front() != *digest) staging.forget(shard.name);
  }
}

/// Writes what is not finished yet. @return digests of all files.
std::map<std::string, std::string> write_files(const Checkpoint& checkpoint, const Plan& plan,
                                               const FolderLayout& layout, Staging& staging,
                                               const BuildOptions& options,
                                               const ProgressFn& progress) {
  check_finished(layout, staging, options.threads, progress);
  const std::vector<UnitFormat> formats = formats_of_plan(checkpoint, plan);
  ShardWriter writer(checkpoint, formats, plan.dtype, options.encoded, options.threads, progress);
  for (const Shard& shard : layout.shards) {
    if (!staging.finished(shard.name)) writer.expect(shard);
  }
  std::map<std::string, std::string> digests;
  for (const Shard& shard : layout.shards) {
    check_interrupted();
    std::optional<std::string> digest = staging.finished(shard.name);
    if (!digest) {
      digest = writer.write(shard, staging.folder() / shard.name);
      staging.mark_finished(shard.name, shard.bytes, *digest);
    }
    digests[shard.name] = *digest;
  }
  for (const CarriedFile& file : layout.carried_files) {
    make_parents(staging.folder(), file.name);
    digests[file.name] =
        copy_file(checkpoint.folder / file.name, staging.folder() / file.name, file.bytes);
  }
  for (const RenderedFile& file : layout.rendered) {
    if (file.name == "plan.json") continue;
    digests[file.name] = write_text(staging.folder() / file.name, file.text);
  }
  Plan sealed = plan;
  sealed.file_hashes = digests;
  sealed.file_hashes["plan.json"] = plan_digest(sealed);
  const std::string text = render_plan(sealed);
  RAM_CHECK(text.size() == plan_text(layout).size());
  digests["plan.json"] = write_text(staging.folder() / "plan.json", text);
  return digests;
}

/// True if OUT is already this folder; throws if it is something else that must not be replaced.
bool check_out(const OutPaths& place, const FolderLayout& layout, const BuildOptions& options,
               const ProgressFn& progress) {
  if (!fs::exists(place.out)) return false;
  const std::string found = difference(place.out, layout, options.threads, progress);
  if (found.empty()) return true;
  check_replaceable(place.out, found, options.force);
  return false;
}

void write_staged(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                  const OutPaths& place, const FolderLayout& layout, Staging& staging,
                  const BuildOptions& options, const ProgressFn& progress) {
  BuildRecord record = {
      .fingerprint = plan.fingerprint, .plan_hash = build_key(plan), .file_hashes = {}};
  // Fail now, not at the end, if the study cannot be written.
  BuildTable builds(study);
  if (!builds.find(record.plan_hash)) builds.put(record);
  record.file_hashes = write_files(checkpoint, plan, layout, staging, options, progress);
  // Check again: hours may have passed, and someone may have put a file there.
  if (fs::exists(place.out))
    check_replaceable(place.out, "it appeared during this run", options.force);
  checkpoint.check_unchanged();
  // Before the rename: a record without a folder does no harm, a folder without one cannot be
  // verified without its source.
  builds.put(record);
  staging.publish();
}

/// Whether finished shards may be wrong. While the weights are unchanged, a damaged store or a
/// changed carried file spoils no shard: the key says what the shards are made of.
bool may_be_wrong(const Checkpoint& checkpoint, Code code) {
  if (code != Code::kCorrupt) return code == Code::kInternal;
  try {
    checkpoint.check_weights_unchanged();
  } catch (const Error&) {
    return true;
  }
  return false;
}

BuildOutcome build(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                   const fs::path& out, const BuildOptions& options, const ProgressFn& progress) {
  if (plan.encoder == Encoder::kSimulated) {
    fail(Code::kUsage, "encoder reference is for analysis only: write folders with --encoder mlx");
  }
  RAM_CHECK(plan.encoder == Encoder::kMlx || options.encoded);
  const OutPaths place = resolve_out_folder(out);
  check_no_overlap(checkpoint, place.out);
  const FolderLayout layout = layout_plan(checkpoint, plan, options.max_shard_bytes);
  RAM_CHECK(layout.total_bytes() == plan.total_bytes);
  if (check_out(place, layout, options, progress)) {
    remove_leftovers(place);
    return BuildOutcome::kAlreadyThere;
  }

  Staging staging(place, key_of(checkpoint, layout));
  try {
    // Another program may have finished before we got the lock.
    if (check_out(place, layout, options, progress)) {
      staging.discard();
      return BuildOutcome::kAlreadyThere;
    }
    check_space(staging, layout, place.out);
    if (staging.soft() && options.note) {
      options.note(fmt::format(
          "the file system of {} has no locks: make sure that no other machine writes there too",
          place.out.string()));
    }
    write_staged(checkpoint, plan, study, place, layout, staging, options, progress);
  } catch (const std::exception& exception) {
    // Keep finished shards for the next run after any failure (Ctrl-C, a full disk, a study that
    // another program has locked), unless the shards themselves may be wrong.
    const Code code = as_error(exception).code();
    if (may_be_wrong(checkpoint, code) || staging.finished_bytes() == 0) {
      staging.discard();
      throw;
    }
    staging.keep();
    if (code != Code::kWriteFailed) throw;
    fail(code, "{}; finished files are kept in {}: the same command continues from there",
         as_error(exception).what(), place.work.string());
  }
  return BuildOutcome::kWritten;
}

OutState state_of(const Checkpoint& checkpoint, const fs::path& out, bool force) {
  const OutPaths place = resolve_out_folder(out);
  check_no_overlap(checkpoint, place.out);
  const bool there = fs::exists(place.out);
  if (there) check_folder(place.out);
  if (there && force) check_replaceable(place.out, "", force);
  check_writable(place);
  if (there) return OutState::kThere;
  return fs::exists(place.work) ? OutState::kBegun : OutState::kNew;
}

/// Runs an action; turns a file system error into an Error.
template <class Action>
auto translated(const fs::path& out, Action action) {
  try {
    return action();
  } catch (const fs::filesystem_error& error) {
    fail(Code::kWriteFailed, "cannot write {}: {}: {}", out.string(), error.path1().string(),
         error.code().message());
  }
}

}  // namespace

OutState check_out_folder(const Checkpoint& checkpoint, const fs::path& out, bool force) {
  return translated(out, [&] { return state_of(checkpoint, out, force); });
}

BuildOutcome build_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const fs::path& out, const BuildOptions& options,
                          const ProgressFn& progress) {
  return translated(out, [&] { return build(checkpoint, plan, study, out, options, progress); });
}

}  // namespace ram
