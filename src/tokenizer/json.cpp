// Fields of tokenizer.json, each checked: see json.h.
#include "json.h"

#include <algorithm>

#include "ram/error.h"
#include "ram/utf8.h"

#include "growth.h"

namespace ram {
namespace {

constexpr size_t kMostShown = 60;

}  // namespace

void check_steps(const Node& node, size_t steps) {
  if (steps < kMostSteps) return;
  node.unsupported("more steps than any real file has",
                   fmt::format("at most {} are supported", kMostSteps));
}

std::string shown(std::string_view text) {
  const size_t good = well_formed_utf8(text.substr(0, std::min(text.size(), kMostShown)));
  std::string out(text.substr(0, good));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return good < text.size() ? out + "..." : out;
}

void Node::corrupt(std::string_view what) const {
  fail(Code::kCorrupt, "{} ({})", what, where_);
}

void Node::unsupported(std::string_view what, std::string_view handled) const {
  fail(Code::kUnsupported, "{}: not supported; {} ({})", what, handled, where_);
}

std::string Node::type(std::string_view kind) {
  if (!value_->is_object()) corrupt(fmt::format("{} is not an object", kind));
  std::string name = text("type");
  where_ = fmt::format("{} {}, {}", kind, shown(name), where_);
  return name;
}

bool Node::has(const char* name) const {
  return value_->is_object() && value_->contains(name) && !(*value_)[name].is_null();
}

Node Node::at(const char* name) const {
  if (!value_->is_object() || !value_->contains(name)) corrupt(fmt::format("no \"{}\"", name));
  return {(*value_)[name], where_};
}

std::string Node::text(const char* name) const {
  const Json& value = at(name).value();
  if (!value.is_string()) corrupt(fmt::format("\"{}\" is not a string", name));
  return value.get<std::string>();
}

std::optional<std::string> Node::optional_text(const char* name) const {
  if (!has(name)) return std::nullopt;
  return text(name);
}

bool Node::flag(const char* name) const {
  const Json& value = at(name).value();
  if (!value.is_boolean()) corrupt(fmt::format("\"{}\" is neither true nor false", name));
  return value.get<bool>();
}

bool Node::flag(const char* name, bool otherwise) const {
  return has(name) ? flag(name) : otherwise;
}

int64_t Node::whole(const char* name, int64_t most) const {
  const Json& value = at(name).value();
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > most) {
    corrupt(fmt::format("\"{}\" is not a whole number from 0 to {}", name, most));
  }
  return value.get<int64_t>();
}

char32_t Node::character(const char* name) const {
  const std::string value = text(name);
  if (value.empty() || utf8_length(value[0]) != value.size()) {
    corrupt(fmt::format("\"{}\" is not one character", name));
  }
  return utf8_code_point(value.data());
}

const Json& Node::list(const char* name) const {
  const Json& value = at(name).value();
  if (!value.is_array()) corrupt(fmt::format("\"{}\" is not a list", name));
  return value;
}

}  // namespace ram
