#include "hidden_stack.h"

#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

#include <unistd.h>

#include "ram/error.h"
#include "ram/scoped.h"

#include "units.h"

namespace ram {

HiddenStack::HiddenStack(const std::filesystem::path& folder) {
  std::string path = (folder / ".ram-hidden-XXXXXX").string();
  const int made = mkstemp(path.data());
  if (made < 0) fail_errno(true, "cannot create", path, errno);
  close(made);
  const AtScopeExit remove([&] { unlink(path.c_str()); });
  out_ = std::make_unique<OutputFile>(path);
  in_ = std::make_unique<InputFile>(path);
}

void HiddenStack::push(const HiddenRows& rows) {
  if (out_ == nullptr) {
    in_memory_.push_back(copy_rows(rows));
    return;
  }
  std::vector<Shape> shapes;
  for (const Matrix& row : rows) {
    const std::span values(row.data(), static_cast<size_t>(row.rows() * row.cols()));
    out_->write(end_, std::as_bytes(values));
    end_ += static_cast<int64_t>(values.size_bytes());
    shapes.push_back({row.rows(), row.cols()});
  }
  in_file_.push_back(std::move(shapes));
}

HiddenRows HiddenStack::pop() {
  if (out_ == nullptr) {
    RAM_CHECK(!in_memory_.empty());
    HiddenRows rows = std::move(in_memory_.back());
    in_memory_.pop_back();
    return rows;
  }
  RAM_CHECK(!in_file_.empty());
  HiddenRows rows;
  for (const Shape& shape : in_file_.back()) {
    rows.emplace_back(shape.rows, shape.cols);
    end_ -= 4 * shape.rows * shape.cols;
  }
  in_file_.pop_back();
  int64_t at = end_;
  for (Matrix& row : rows) {
    const std::span values(row.data(), static_cast<size_t>(row.rows() * row.cols()));
    in_->read(at, std::as_writable_bytes(values));
    at += static_cast<int64_t>(values.size_bytes());
  }
  return rows;
}

}  // namespace ram
