#include "families.h"

#include <array>

namespace ram {
namespace {

constexpr std::array<const Family*, 7> kFamilies = {
    &kLlama, &kMistral, &kQwen2, &kQwen3, &kQwen3Moe, &kQwen2Moe, &kMixtral,
};

}  // namespace

FamilyTable families() {
  return kFamilies;
}

}  // namespace ram
