// Files: reading at offsets without mapping, identity, atomic writes, locks and free space.
//
// Reads use pread into the caller's buffers, never mmap: what is resident is what we allocated, and
// a file that is cut while we read is an error and not a SIGBUS. All that is specific to one
// operating system is here or in thread.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ram {

/// What tells a file from a changed one without reading it.
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
  /// @throws Error{kMissing} it cannot be opened, or is no regular file.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return identity_.size; }
  const FileIdentity& identity() const { return identity_; }  ///< as it was when opened

  /// Fills `out` from `offset`.
  /// @throws Error{kCorrupt} the file ends before; Error{kMissing} it cannot be read.
  void read(int64_t offset, std::span<std::byte> out) const;

  /// Tells the system that this range will be read soon (read-ahead). Never fails.
  void prefetch(int64_t offset, int64_t length) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  FileIdentity identity_;
};

/// Reads a file past the system's cache: for what is larger than memory or is read once, which the
/// cache only costs processor time and others their place in it. What lies in the cache already is
/// taken from there. Safe to read from several threads.
class DirectReader {
 public:
  static constexpr int64_t kAlignment = 4096;             ///< of `room`
  static constexpr int64_t kSlackBytes = 2 * kAlignment;  ///< of `room`, besides what is read

  /// Never fails: where the file system cannot, `read` is InputFile::read.
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
  int fd_ = -1;  ///< past the cache; -1 where that cannot be
};

/// A file being written. Safe to write to from several threads at distinct ranges.
class OutputFile {
 public:
  /// Creates or truncates; a link is not followed. @throws Error{kWriteFailed}
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Reserves the blocks of `size` bytes, so that a full disk shows now. @throws
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

/// A file that is written beside the name that it is to have, under one that nobody else has, and
/// takes that name when it is whole. It is locked while it is written, so that one that a dead
/// process left can be told. Safe to write to from several threads at distinct ranges.
class ReplacementFile {
 public:
  /// Creates it; a link or a file in its place is not followed and not touched.
  /// @throws Error{kWriteFailed}
  explicit ReplacementFile(std::filesystem::path target);
  /// Removes it, unless it was published.
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  /// As of OutputFile.
  void reserve(int64_t size);
  void write(int64_t offset, std::span<const std::byte> bytes);
  /// Makes it durable and gives it the name. @throws Error{kWriteFailed}
  void publish();

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;  ///< empty: published
  int fd_ = -1;
};

/// Removes what dead processes left of replacements of this file. Never fails; where the file
/// system has no locks, all stays.
void remove_dead_replacements(const std::filesystem::path& target) noexcept;

/// @return the identity of a file. @throws Error{kMissing}
FileIdentity file_identity(const std::filesystem::path& path);

/// @return the whole file. @throws Error{kMissing}; Error{kCorrupt} above max_bytes.
std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes);

/// Writes beside, syncs, renames: the file is there whole or as it was. @throws Error{kWriteFailed}
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// Renames a file or folder and makes the rename durable; an existing file is replaced, an existing
/// folder is not. @throws Error{kWriteFailed}
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Exchanges two files or folders of one file system in one step and makes it durable.
/// @return false, and nothing is changed, where the system or the file system cannot.
/// @throws Error{kWriteFailed}
bool exchange_durably(const std::filesystem::path& a, const std::filesystem::path& b);

/// Makes the entries of a folder durable. @throws Error{kWriteFailed}
void sync_folder(const std::filesystem::path& folder);

/// Where runs keep their work beside an output folder. A run empties both of all that it finds
/// there, so nothing that it reads may lie in them.
struct WorkFolders {
  std::filesystem::path partial;  ///< ".NAME.ram-partial": the folder as far as it is written
  std::filesystem::path encoded;  ///< ".NAME.ram-encoded": compressed units
};

/// @param out absolute, symbolic links resolved, no trailing slash.
WorkFolders work_folders(const std::filesystem::path& out);

/// @return whether it has the name of a work folder, of whatever output.
bool is_work_folder(const std::filesystem::path& path);

/// Makes a folder whose parent is there; one that is there already is no error.
/// @throws Error{kWriteFailed}
void make_folder(const std::filesystem::path& folder);

/// Removes a file, or a folder with all that is in it; links are removed and not followed. What
/// cannot be removed stays, without a word: the next run that needs the place says so.
void remove_tree(const std::filesystem::path& path) noexcept;

/// For asking before long work.
/// @throws Error{kMissing} the system lets this process open fewer than `count` more files.
void need_descriptors(int count);

/// @return bytes free to this user on the file system that holds `path` (or its nearest existing
/// parent).
int64_t free_bytes(const std::filesystem::path& path);

/// Raises this process's limit on open files as far as it may by itself: a model can have more
/// shards than the usual 256 or 1,024. Never fails.
void raise_open_files_limit();

/// An advisory lock on a file, held as long as the object lives; released by the system if the
/// process dies.
///
/// Some file systems have no such locks (Lustre, some of CIFS and FUSE). There the lock is a file
/// beside, PATH.held, that names the machine and the process: another program of this machine
/// takes it over from a dead one; whether a program of another machine lives cannot be known.
class FileLock {
 public:
  /// Takes the lock, waiting not at all. The file is created if missing and is left behind.
  /// @throws Error{kUsage} another process holds it (the message says `busy`); Error{kWriteFailed},
  ///         and the file is as it was.
  FileLock(const std::filesystem::path& path, std::string_view busy);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Removes the file, the lock still being held; a program that waits for the name makes a new
  /// one.
  void remove_file();

  /// @return true where the file system has no locks: programs of two machines can both hold it.
  bool soft() const { return soft_; }

  /// @return true for the lock's own files, by name.
  static bool is_file_of(const std::filesystem::path& lock, const std::filesystem::path& file);

 private:
  void take_softly(std::string_view busy);

  std::filesystem::path path_;
  int fd_ = -1;
  bool soft_ = false;
};

}  // namespace ram
