// The work folder beside OUT: one writer at a time, finished shards kept over a kill, and the one
// rename that makes OUT appear.
//
//   .NAME.ram-partial/lock        held while a program writes
//   .NAME.ram-partial/state.json  which shards are finished, and of what
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
  /// Makes the work folder (and OUT's parents), takes the lock, takes up what an earlier run
  /// finished for the same key and removes everything else there.
  ///
  /// @param key a digest of all that decides the folder's bytes.
  /// @throws Error{kUsage} another program is writing OUT; {kWriteFailed}.
  Staging(const OutPaths& place, std::string key);

  const std::filesystem::path& folder() const { return folder_; }

  /// @return the digest of a file that is finished; nothing if it is still to be written.
  std::optional<std::string> finished(const std::string& name) const;
  /// @return bytes of all finished files.
  int64_t finished_bytes() const;

  /// Keeps a file that is written and durable over a kill.
  void mark_finished(const std::string& name, int64_t bytes, const std::string& digest);

  /// A file that is not what was finished: it is to be written again.
  void forget(const std::string& name);

  /// Makes OUT appear, or exchanges it with the one there, and removes the work folder.
  /// @pre all files are durable.
  void publish();

  /// Leaves what is finished to the next run, and nothing else.
  void keep();

  /// Removes the work folder and the parents that were made for it.
  void discard();

  /// @return true where another machine's program could write OUT too: FileLock::soft.
  bool soft() const { return lock_.soft(); }

 private:
  struct Finished {
    int64_t bytes = 0;
    std::string digest;
  };

  FileLock take_lock();
  void recover();
  void exchange();
  /// After an exchange that failed: says again what is finished if the folder, known by its inode,
  /// is still ours.
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

/// Removes what a killed run left beside a finished OUT, unless a program is at work there.
void remove_leftovers(const OutPaths& place);

}  // namespace ram
