// ram completion: scripts for shells, the manual page, and the models of the local cache.
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/error.h"

#include "commands.h"

namespace ram::cli {
namespace {

int completion(const Common& common, const Arguments& any, const std::string& what) {
  if (what == "models") {
    const std::vector<std::string> ids = cached_models();
    if (common.json) {
      print_document(common, Json{{"models", ids}});
    } else {
      for (const std::string& id : ids) print_result(common, id + "\n");
    }
    return kDone;
  }
  const std::optional<std::string> text =
      what == "man" ? manual_page(program(), any) : completion_script(program(), any, what);
  if (!text) fail(Code::kUsage, "ram completion {}: use bash, zsh or fish; man or models", what);
  print_result(common, common.json ? Json{{"for", what}, {"text", *text}}.dump(2) + "\n" : *text);
  return kDone;
}

}  // namespace

Action setup_completion(Arguments app, const Common& common) {
  auto what = std::make_shared<std::string>();
  app.add_option("SHELL", *what,
                 "bash, zsh or fish: its script; man: the manual page; models: the ids in the "
                 "local cache, one per line")
      .type_name("")
      .words({"bash", "zsh", "fish", "man", "models"})
      .required();
  return [what, app, &common] { return completion(common, app, *what); };
}

}  // namespace ram::cli
