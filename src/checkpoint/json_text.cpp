// Builds the tree from JSON events, so that depth is checked before anything nests, and walks it to
// write; both are recursive only to kMaxJsonDepth.
#include "json_text.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"

namespace ram {
namespace {

using Json = nlohmann::json;

class TreeEvents {
 public:
  TreeEvents(Json& root, const std::string& file) : root_(root), file_(file) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(int64_t value) { return put(value); }
  bool number_unsigned(uint64_t value) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t& /*value*/) { return false; }

  bool number_float(double value, const std::string& text) {
    // An integer beyond 64 bits arrives here; as a double it would lose digits.
    if (text.find_first_of(".eE") == std::string::npos) {
      return put(Json::binary(std::vector<uint8_t>(text.begin(), text.end())));
    }
    return put(value);
  }

  bool start_object(size_t /*elements*/) { return open(Json::object()); }
  bool start_array(size_t /*elements*/) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    slot_ = &(*open_.back())[name];  // the last of two equal keys counts, as in Python
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) {
    fail(Code::kCorrupt, "not valid JSON at byte {} ({})", position, file_);
  }

 private:
  Json* place() {
    if (open_.empty()) return &root_;
    if (open_.back()->is_object()) return slot_;
    open_.back()->push_back(nullptr);
    return &open_.back()->back();
  }

  template <typename Value>
  bool put(Value&& value) {
    *place() = std::forward<Value>(value);
    return true;
  }

  bool open(Json empty) {
    if (open_.size() == kMaxJsonDepth) {
      fail(Code::kCorrupt, "JSON nested deeper than {} levels ({})", kMaxJsonDepth, file_);
    }
    Json* at = place();
    *at = std::move(empty);
    open_.push_back(at);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  const std::string& file_;
  std::vector<Json*>
      open_;  // parents stay put while a child grows: only the innermost is appended to
  Json* slot_ = nullptr;
};

void write(const Json& value, int depth, std::string& out) {
  RAM_CHECK(depth <= kMaxJsonDepth + 1);
  const auto line = [&out](int levels) {
    out += '\n';
    out.append(size_t{4} * static_cast<size_t>(levels), ' ');
  };
  if (value.is_binary()) {
    out.append(value.get_binary().begin(), value.get_binary().end());
  } else if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    // As mlx_lm 0.32.2 and transformers 5 write it and read it: JSON has no such number.
    const double number = value.get<double>();
    out += fmt::format(R"({{"__float__": "{}"}})", std::isnan(number) ? "NaN"
                                                   : number > 0       ? "Infinity"
                                                                      : "-Infinity");
  } else if (!value.is_structured() || value.empty()) {
    out += value.dump();
  } else if (value.is_object()) {
    char separator = '{';
    for (const auto& [name, child] : value.items()) {
      out += separator;
      line(depth + 1);
      out += Json(name).dump() + ": ";
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

nlohmann::json parse_json(std::string_view text, const std::string& file) {
  Json root;
  TreeEvents events(root, file);
  Json::sax_parse(text.begin(), text.end(), &events);
  return root;
}

std::string render_json(const nlohmann::json& value) {
  std::string out;
  write(value, 0, out);
  return out + "\n";
}

}  // namespace ram
