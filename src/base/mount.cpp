#include "ram/mount.h"

#include <fcntl.h>
#include <sys/stat.h>

#if defined(__APPLE__)
#include <sys/mount.h>
#endif

namespace ram {

namespace fs = std::filesystem;

bool is_mount_point(const fs::path& folder) {
#if defined(__APPLE__)
  struct statfs info = {};
  return statfs(folder.c_str(), &info) == 0 && folder == fs::path(info.f_mntonname);
#else
#if defined(STATX_ATTR_MOUNT_ROOT)
  struct statx known = {};
  if (statx(AT_FDCWD, folder.c_str(), 0, STATX_TYPE, &known) == 0 &&
      (known.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0) {
    return (known.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  }
#endif
  // Before Linux 5.8. Does not detect a folder that is mounted within its own file system.
  struct stat own = {};
  struct stat above = {};
  return stat(folder.c_str(), &own) == 0 && stat((folder / "..").c_str(), &above) == 0 &&
         own.st_dev != above.st_dev;
#endif
}

}  // namespace ram
