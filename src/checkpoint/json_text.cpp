// Writes the tree recursively; parse_json limits the depth.
#include "json_text.h"

#include "ram/json_text.h"

namespace ram {
namespace {

using Json = nlohmann::json;

void write(const Json& value, int depth, std::string& out) {
  const auto line = [&out](int levels) {
    out += '\n';
    out.append(size_t{4} * static_cast<size_t>(levels), ' ');
  };
  if (value.is_binary()) {
    out.append(value.get_binary().begin(), value.get_binary().end());
  } else if (value.is_string()) {
    out += json_quoted(value.get_ref<const std::string&>());
  } else if (!value.is_structured() || value.empty()) {
    out += value.dump();
  } else if (value.is_object()) {
    char separator = '{';
    for (const auto& [name, child] : value.items()) {
      out += separator;
      line(depth + 1);
      out += json_quoted(name) + ": ";
      write(child, depth + 1, out);
      separator = ',';
    }
    line(depth);
    out += '}';
  } else {
    char separator = '[';
    for (const Json& child : value) {
      out += separator;
      line(depth + 1);
      write(child, depth + 1, out);
      separator = ',';
    }
    line(depth);
    out += ']';
  }
}

}  // namespace

std::string render_json(const nlohmann::json& value) {
  std::string out;
  write(value, 0, out);
  return out + "\n";
}

}  // namespace ram
