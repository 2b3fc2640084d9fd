// Files: reading at offsets without mapping, identity, atomic writes, locks and free space.
//
// Reads use pread into the caller's buffers, never mmap: only memory that the program allocated is
// resident, and a file that is truncated during a read causes an error, not a SIGBUS. All code that
// is specific to an operating system is here or in thread.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ram {

/// Detects that a file has changed without reading it.
struct FileIdentity {
  int64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t inode = 0;
  uint64_t device = 0;
  bool operator==(const FileIdentity&) const = default;
};

/// A file opened for reading. Safe to read from several threads.
class InputFile {
 public:
  /// @throws Error{kMissing} it cannot be opened, or is not a regular file.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return identity_.size; }
  const FileIdentity& identity() const { return identity_; }  ///< as it was when opened

  /// Fills `out` from `offset`.
  /// @throws Error{kCorrupt} the file is too short; Error{kMissing} it cannot be read.
  void read(int64_t offset, std::span<std::byte> out) const;

  /// Tells the system that this range will be read soon (read-ahead). Never fails.
  void prefetch(int64_t offset, int64_t length) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  FileIdentity identity_;
};

/// Reads a file bypassing the system's cache: for files that are larger than memory or are read
/// once. Caching those would take processor time and evict other files. Data that is already cached
/// is read from the cache. Safe to read from several threads.
class DirectReader {
 public:
  static constexpr int64_t kAlignment = 4096;             ///< of `room`, bytes
  static constexpr int64_t kSlackBytes = 2 * kAlignment;  ///< of `room`, besides what is read

  /// Never fails: if the file system does not support it, `read` is InputFile::read.
  /// @param file must live as long as the reader.
  explicit DirectReader(const InputFile& file);
  ~DirectReader();
  DirectReader(DirectReader&& other) noexcept;
  DirectReader& operator=(DirectReader&&) = delete;

  /// @param room  at least length + kSlackBytes, aligned to kAlignment.
  /// @return the bytes, somewhere in `room`.
  /// @throws as InputFile::read
  const std::byte* read(int64_t offset, int64_t length, std::span<std::byte> room) const;

 private:
  const InputFile* file_;
  int fd_ = -1;  ///< bypasses the cache; -1 if not supported
};

/// A file being written. Safe to write to from several threads at distinct ranges.
class OutputFile {
 public:
  /// Creates or truncates the file; a link is not followed. @throws Error{kWriteFailed}
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Reserves the blocks of `size` bytes, so that a full disk is noticed now. @throws
  /// Error{kWriteFailed}
  void reserve(int64_t size);
  /// @throws Error{kWriteFailed}
  void write(int64_t offset, std::span<const std::byte> bytes);
  /// Makes it durable and closes it. @throws Error{kWriteFailed}
  void finish();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// A file that is written under a unique temporary name beside its target and renamed when it is
/// complete. It is locked while it is written, so that a file left by a dead process can be
/// recognized. Safe to write to from several threads at distinct ranges.
class ReplacementFile {
 public:
  /// Creates it; a link or a file at the target is not followed and not changed.
  /// @throws Error{kWriteFailed}
  explicit ReplacementFile(std::filesystem::path target);
  /// Removes it, unless it was published.
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  /// As in OutputFile.
  void reserve(int64_t size);
  void write(int64_t offset, std::span<const std::byte> bytes);
  /// Makes it durable and renames it to the target. @throws Error{kWriteFailed}
  void publish();

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;  ///< empty: published
  int fd_ = -1;
};

/// Removes replacements of this file that dead processes left. Never fails; if the file system has
/// no locks, nothing is removed.
void remove_dead_replacements(const std::filesystem::path& target) noexcept;

/// @return the identity of a file. @throws Error{kMissing}
FileIdentity file_identity(const std::filesystem::path& path);

/// @return the whole file. @throws Error{kMissing}; Error{kCorrupt} above max_bytes.
std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes);

/// Writes a temporary file, syncs it and renames it: the file is either complete or unchanged.
/// @throws Error{kWriteFailed}
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// Renames a file or folder and makes the rename durable; an existing file is replaced, an existing
/// folder is not. @throws Error{kWriteFailed}
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Exchanges two files or folders of one file system in one step and makes it durable.
/// @return false, with nothing changed, if the system or the file system cannot do it.
/// @throws Error{kWriteFailed}
bool exchange_durably(const std::filesystem::path& a, const std::filesystem::path& b);

/// Makes the entries of a folder durable. @throws Error{kWriteFailed}
void sync_folder(const std::filesystem::path& folder);

/// Where runs keep their work beside an output folder. A run deletes everything in both, so none of
/// its inputs may be in them.
struct WorkFolders {
  std::filesystem::path partial;  ///< ".NAME.ram-partial": the part of the folder that is written
  std::filesystem::path encoded;  ///< ".NAME.ram-encoded": compressed units
};

/// @param out absolute, symbolic links resolved, no trailing slash.
WorkFolders work_folders(const std::filesystem::path& out);

/// @return whether it has the name of a work folder of any output.
bool is_work_folder(const std::filesystem::path& path);

/// Makes a folder whose parent exists; it is no error if the folder exists.
/// @throws Error{kWriteFailed}
void make_folder(const std::filesystem::path& folder);

/// Removes a file, or a folder with its contents; links are removed, not followed. What cannot be
/// removed stays, without a message: the next run that needs the place reports it.
void remove_tree(const std::filesystem::path& path) noexcept;

/// To be called before long work.
/// @throws Error{kMissing} the system lets this process open fewer than `count` more files.
void need_descriptors(int count);

/// Whether a path is inside a folder, or the folder itself. Both absolute, links resolved.
bool lies_in(const std::filesystem::path& inner, const std::filesystem::path& outer);

/// @return bytes free to this user on the file system that holds `path` (or its nearest existing
/// parent).
int64_t free_bytes(const std::filesystem::path& path);

/// Raises this process's limit on open files as far as permitted: a model can have more shards than
/// the usual 256 or 1,024. Never fails.
void raise_open_files_limit();

/// An advisory lock on a file, held while the object exists; released by the system if the process
/// dies.
///
/// Some file systems have no such locks (Lustre, some of CIFS and FUSE). There the lock is a second
/// file, PATH.held, that names the machine and the process: another process of this machine takes
/// it over from a dead one; whether a process of another machine is alive cannot be known.
class FileLock {
 public:
  /// Takes the lock without waiting. The file is created if missing, and is not removed afterwards.
  /// @throws Error{kUsage} another process holds it (the message says `busy`); Error{kWriteFailed},
  ///         with the file unchanged.
  FileLock(const std::filesystem::path& path, std::string_view busy);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Removes the file while the lock is held; a program that waits for the name creates a new file.
  void remove_file();

  /// @return true if the file system has no locks: programs on two machines can both hold it.
  bool soft() const { return soft_; }

  /// @return whether `file` is one of the lock's own files, by name.
  static bool is_file_of(const std::filesystem::path& lock, const std::filesystem::path& file);

 private:
  void take_softly(std::string_view busy);

  std::filesystem::path path_;
  int fd_ = -1;
  bool soft_ = false;
};

}  // namespace ram
