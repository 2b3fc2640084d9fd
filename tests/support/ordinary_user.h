// Runs a test's action as a user for whom permissions apply, even if root runs the tests.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include <sys/wait.h>
#include <unistd.h>

namespace ram::testing {

/// Lets every user enter a folder: a temporary one is private to its owner.
inline void open_to_others(const std::filesystem::path& folder) {
  using std::filesystem::perms;
  std::filesystem::permissions(folder, perms::others_read | perms::others_exec,
                               std::filesystem::perm_options::add);
}

/// Runs `action` in a child process: as the current user, or as nobody if that is root.
/// @return its result, 99 if it threw, -1 if it was killed; nothing if root cannot become nobody.
inline std::optional<int> as_ordinary_user(const std::function<int()>& action) {
  constexpr uid_t kNobody = 65534;
  constexpr int kCannot = 77;
  constexpr int kThrew = 99;
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(kCannot);
    int status = kThrew;
    try {
      status = action();
    } catch (...) {
    }
    _exit(status);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  if (WEXITSTATUS(status) == kCannot) return std::nullopt;
  return WEXITSTATUS(status);
}

}  // namespace ram::testing
