// The table of backends.
#include "backend.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "ram/error.h"

#include "cpu/cpu_backend.h"

namespace ram {
namespace {

struct NamedBackend {
  std::string_view name;
  std::unique_ptr<Backend> (*make)(const BackendResources& resources);
};

constexpr std::array kBackends = {NamedBackend{"cpu", make_cpu_backend}};

}  // namespace

std::unique_ptr<Backend> make_backend(std::string_view name, const BackendResources& resources) {
  std::vector<std::string_view> names;
  for (const NamedBackend& row : kBackends) {
    if (row.name == name) return row.make(resources);
    names.push_back(row.name);
  }
  fail(Code::kUsage, "no backend {}; available: {}", name, fmt::join(names, ", "));
}

}  // namespace ram
