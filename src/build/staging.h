// The work folder beside OUT: one writer at a time, finished shards that survive a kill, and the
// one rename that makes OUT appear.
//
//   .NAME.ram-partial/lock        held while a program writes
//   .NAME.ram-partial/state.json  which shards are finished, and of which build
//   .NAME.ram-partial/folder/     becomes OUT
//   .NAME.ram-partial/replaced/   the former OUT, where two folders cannot be exchanged in one step
//   .NAME.ram-partial/obsolete/   the same while it is removed: it never becomes OUT again
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ram/file.h"

#include "out_folder.h"

namespace ram {

class Staging {
 public:
  /// Makes the work folder (and OUT's parents), takes the lock, keeps what an earlier run finished
  /// for the same key, and removes everything else there.
  ///
  /// @param key a digest of everything that determines the folder's bytes.
  /// @throws Error{kUsage} another program is writing OUT; {kWriteFailed}.
  Staging(const OutPaths& place, std::string key);

  const std::filesystem::path& folder() const { return folder_; }

  /// @return the digest of a file that is finished; nothing if it is still to be written.
  std::optional<std::string> finished(const std::string& name) const;
  /// @return bytes of all finished files.
  int64_t finished_bytes() const;

  /// Records a file that is written and durable, so that it survives a kill.
  void mark_finished(const std::string& name, int64_t bytes, const std::string& digest);

  /// Drops the record of a file that no longer matches it, so that the file is written again.
  void forget(const std::string& name);

  /// Makes OUT appear, or exchanges it with the one there, and removes the work folder.
  /// @pre all files are durable.
  void publish();

  /// Keeps only finished files, for the next run.
  void keep();

  /// Removes the work folder and the parents that were made for it.
  void discard();

  /// @return true if a program on another machine could write OUT too: FileLock::soft.
  bool soft() const { return lock_.soft(); }

 private:
  struct Finished {
    int64_t bytes = 0;
    std::string digest;
  };

  FileLock take_lock();
  void recover();
  void exchange();
  /// After a failed exchange: records the finished files again if the folder, identified by its
  /// inode, is still ours.
  void restore_state(uint64_t inode);
  void read_state();
  void write_state() const;
  void remove_unfinished();
  void remove_made_parents();

  std::filesystem::path out_;
  std::filesystem::path work_;
  std::filesystem::path folder_;
  std::string key_;
  std::vector<std::filesystem::path> made_parents_;  // outermost first
  std::map<std::string, Finished> files_;
  FileLock lock_;
};

/// Removes what a killed run left beside a finished OUT, unless a program is working there.
void remove_leftovers(const OutPaths& place);

}  // namespace ram
