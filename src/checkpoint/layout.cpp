// The shape is derived backwards from the part's matrix, the view forwards from the tensor. Every
// step turns a view into a view: rows and columns with constant strides.
#include "layout.h"

#include <algorithm>
#include <utility>

#include "ram/error.h"

namespace ram {

TensorLayout::TensorLayout(std::vector<SizedStep> steps, int64_t parts, int64_t rows, int64_t cols)
    : steps_(std::move(steps)), parts_(parts) {
  bool sliced = false;
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    RAM_CHECK(!sliced);
    switch (step->kind) {
      case StepKind::kSlice:
        sliced = true;
        break;
      case StepKind::kGroup:
        rows *= parts;
        break;
      case StepKind::kFirstHalf:
      case StepKind::kSecondHalf:
      case StepKind::kEvenRows:
      case StepKind::kOddRows:
        rows *= 2;
        break;
      case StepKind::kFirstRows:
      case StepKind::kLastRows:
        rows += step->others;
        break;
      case StepKind::kTranspose:
        std::swap(rows, cols);
        break;
    }
  }
  if (sliced) shape_.push_back(parts);
  shape_.push_back(rows);
  shape_.push_back(cols);
}

View TensorLayout::view(int64_t part) const {
  int64_t rows = shape_[shape_.size() - 2];
  int64_t cols = shape_.back();
  View view = {.first = 0, .row_step = cols, .col_step = 1};
  const auto halve = [&](bool second, int64_t second_first) {
    rows /= 2;
    if (second) view.first += second_first * view.row_step;
  };
  for (const auto& [kind, others] : steps_) {
    switch (kind) {
      case StepKind::kSlice:
        view.first += part * rows * cols;
        break;
      case StepKind::kGroup:
        rows /= parts_;
        view.first += part * rows * view.row_step;
        break;
      case StepKind::kFirstHalf:
      case StepKind::kSecondHalf:
        halve(kind == StepKind::kSecondHalf, rows / 2);
        break;
      case StepKind::kEvenRows:
      case StepKind::kOddRows:
        halve(kind == StepKind::kOddRows, 1);
        view.row_step *= 2;
        break;
      case StepKind::kLastRows:
        view.first += others * view.row_step;
        rows -= others;
        break;
      case StepKind::kFirstRows:
        rows -= others;
        break;
      case StepKind::kTranspose:
        std::swap(rows, cols);
        std::swap(view.row_step, view.col_step);
        break;
    }
  }
  return view;
}

}  // namespace ram
