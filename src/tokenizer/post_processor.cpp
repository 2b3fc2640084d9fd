// Only templates for one text are read; those for pairs of texts are ignored.
#include "post_processor.h"

#include <limits>

#include <fmt/format.h>

namespace ram {
namespace {

constexpr std::string_view kHandledPostProcessors =
    "supported: Sequence, TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing";

constexpr size_t kMostAround = 1024;  ///< ids before a text, and after it; real files have 4

TokenId checked_id(const Json& value, const Node& node) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 ||
      value.get<int64_t>() > std::numeric_limits<TokenId>::max()) {
    node.corrupt("an id that is not a whole number from 0 to 2147483647");
  }
  return value.get<TokenId>();
}

Surroundings parse_template(const Node& node) {
  Surroundings out;
  int texts = 0;
  const Node specials = node.at("special_tokens");
  for (const Json& piece : node.list("single")) {
    const Node one(piece, node.where());
    if (one.has("Sequence")) {
      const std::string which = one.at("Sequence").text("id");
      if (which != "A") node.unsupported("sequence " + shown(which), "a single text is A");
      ++texts;
    } else if (one.has("SpecialToken")) {
      const std::string name = one.at("SpecialToken").text("id");
      if (!specials.has(name.c_str())) {
        node.corrupt("special token " + shown(name) + " is not in \"special_tokens\"");
      }
      std::vector<TokenId>& side = texts == 0 ? out.prefix : out.suffix;
      for (const Json& id : specials.at(name.c_str()).list("ids")) {
        side.push_back(checked_id(id, node));
        if (side.size() > kMostAround) {
          node.unsupported("a template with more ids than any real file has",
                           fmt::format("at most {} on each side are supported", kMostAround));
        }
      }
    } else {
      node.corrupt("a piece of \"single\" is neither Sequence nor SpecialToken");
    }
  }
  if (texts != 1) {
    node.unsupported(fmt::format("a template with the text {} times", texts),
                     "it must appear once");
  }
  return out;
}

Surroundings parse_pair(const Node& node) {
  const auto id = [&node](const char* name) {
    const Json& pair = node.list(name);
    if (pair.size() != 2) node.corrupt(fmt::format("\"{}\" is not a token and its id", name));
    return checked_id(pair[1], node);
  };
  return {.prefix = {id("cls")}, .suffix = {id("sep")}};
}

void add(Node node, Surroundings& out, bool& found) {
  const std::string type = node.type("post_processor");
  if (type == "Sequence") {
    for (const Json& inner : node.list("processors")) add(Node(inner, node.where()), out, found);
    return;
  }
  if (type == "ByteLevel") return;  // only offsets, which are not used here
  Surroundings one;
  if (type == "TemplateProcessing") {
    one = parse_template(node);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    one = parse_pair(node);
  } else {
    node.unsupported("post_processor " + shown(type), kHandledPostProcessors);
  }
  if (found) node.unsupported("a second post-processor that adds ids", "only one is supported");
  found = true;
  out = std::move(one);
}

}  // namespace

Surroundings parse_post_processor(const Node& node) {
  Surroundings out;
  bool found = false;
  add(node, out, found);
  return out;
}

}  // namespace ram
