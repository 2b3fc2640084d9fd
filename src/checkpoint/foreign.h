// What users give instead of a model's folder, and what to do in each case.
#pragma once

#include <filesystem>
#include <string>

namespace ram {

struct ModelFolder;

/// Says what a folder without config.json or without weights is. @throws Error{kMissing} always.
/// @param missing "config.json" or "model*.safetensors".
[[noreturn]] void fail_foreign_folder(const ModelFolder& folder, const std::string& missing);

/// Says what a text is that names neither a folder nor a model in the cache. @throws
/// Error{kMissing} always.
[[noreturn]] void fail_foreign_name(const std::string& text, const std::filesystem::path& cache);

/// @return true for a repository's id in the hub's form: "name" or "organisation/name".
bool is_repository_id(std::string_view text);

/// @return "Org/Name" for "models--Org--Name", a folder of the cache; empty for another name.
std::string repository_of_cache_folder(std::string_view name);

}  // namespace ram
