// What Linux and Darwin report about the machine, and the limits on this process.
#include "ram/machine.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <fmt/format.h>

#include "ram/number.h"
#include "ram/size.h"

namespace ram {
namespace {

constexpr int64_t kSparePart = 32;  // one part in 32 stays free

#if defined(__linux__)
// A container's share of processors: cgroup v2's cpu.max contains "quota period" or "max period".
int cgroup_processors() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  std::string period;
  if (!(file >> quota >> period)) return 0;
  const double share = parse_number(quota).value_or(0) / parse_number(period).value_or(0);
  return share > 0 && share < 1e6 ? std::max(1, static_cast<int>(share)) : 0;
}
#endif

std::string processor_name() {
#if defined(__APPLE__)
  char name[256] = {};
  size_t size = sizeof(name) - 1;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#else
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
#endif
  return "";
}

}  // namespace

int default_threads() {
  int processors = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) processors = CPU_COUNT(&set);
  if (const int share = cgroup_processors(); share > 0) processors = std::min(processors, share);
#endif
  return std::max(1, processors);
}

int64_t memory_limit_bytes() {
  int64_t bytes = std::numeric_limits<int64_t>::max();
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    bytes = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, static_cast<rlim_t>(bytes)));
  }
#if defined(__linux__)
  // cgroup v2: a number, or "max".
  std::ifstream file("/sys/fs/cgroup/memory.max");
  int64_t share = 0;
  if (file >> share && share > 0) bytes = std::min(bytes, share);
#endif
  return bytes;
}

int64_t physical_memory_bytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

int64_t memory_bytes() {
  return std::min(physical_memory_bytes(), memory_limit_bytes());
}

int64_t usable_memory_bytes(int64_t memory) {
  return memory - memory / kSparePart;
}

int64_t memory_bytes_for(int64_t used) {
  return used * kSparePart / (kSparePart - 1);
}

std::string machine_name() {
  std::string name = processor_name();
  if (!name.empty()) name += ", ";
  const auto processors = sysconf(_SC_NPROCESSORS_ONLN);
  name += fmt::format("{} processor{}, {}", processors, processors == 1 ? "" : "s",
                      format_bytes(physical_memory_bytes()));
  struct utsname system = {};
  if (uname(&system) == 0) name += fmt::format(", {} {}", system.sysname, system.machine);
  return name;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int64_t peak_resident_bytes() {
#if defined(__linux__)
  // Not getrusage: its ru_maxrss survives exec, so a program started by a large one would report
  // the large one's peak.
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM:")) continue;
    const size_t at = line.find_first_of("0123456789");
    int64_t kilobytes = 0;
    const char* end = line.data() + line.size();
    if (at != std::string::npos &&
        std::from_chars(line.data() + at, end, kilobytes).ec == std::errc()) {
      return kilobytes * 1024;
    }
  }
#endif
  struct rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return usage.ru_maxrss;
#else
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
#endif
}

void return_freed_blocks() {
#if defined(__GLIBC__)
  // Above oneDNN's scratch: it allocates up to 1.2 MiB for each product, and clearing fresh pages
  // each time would take longer than the product.
  constexpr int kSmallestOfItsOwn = 2 << 20;
  constexpr int kMostKeptAtTheTop = 8 << 20;
  mallopt(M_MMAP_THRESHOLD, kSmallestOfItsOwn);
  mallopt(M_TRIM_THRESHOLD, kMostKeptAtTheTop);
#endif
}

}  // namespace ram
