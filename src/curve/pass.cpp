// Distribution of blocks, prefetching, and progress.
#include "pass.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "ram/cancellation.h"
#include "ram/progress.h"
#include "ram/thread.h"

#include "permits.h"

namespace ram {
namespace {

// How far ahead prefetch is requested: enough that the disk has work while all workers compute.
constexpr int64_t kLeastAheadBytes = int64_t{32} << 20;
constexpr int64_t kAheadBytesPerThread = int64_t{8} << 20;

// How many workers wait for the disk while `threads` compute: a disk is fastest with several
// pending requests.
constexpr int kLeastReaders = 4;

struct Block {
  TensorJob* job = nullptr;
  int64_t block = 0;
  int64_t before_bytes = 0;  ///< of all blocks before it
};

class Pass {
 public:
  Pass(std::deque<TensorJob>& jobs, int threads, std::span<const DirectReader> direct,
       std::string_view phase, const ProgressFn& progress, const std::function<void()>& before_read)
      : direct_(direct),
        buffers_(static_cast<size_t>(direct.empty() ? threads
                                                    : threads + std::max(kLeastReaders, threads))),
        computing_(threads),
        ahead_bytes_(std::max(kLeastAheadBytes, threads * kAheadBytesPerThread)),
        phase_(phase),
        progress_(progress),
        before_read_(before_read) {
    for (TensorJob& job : jobs) {
      for (int64_t block = 0; block < job.blocks(); ++block) {
        blocks_.push_back({&job, block, total_bytes_});
        total_bytes_ += job.block_bytes(block);
      }
    }
  }

  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t total_bytes() const { return total_bytes_; }
  int workers() const { return static_cast<int>(buffers_.size()); }

  void run(int64_t index, int worker, const std::function<void(TensorJob&)>& done) {
    check_interrupted();
    const Block& block = blocks_[static_cast<size_t>(index)];
    BlockBuffer& buffer = buffers_[static_cast<size_t>(worker)];
    if (direct_.empty()) prefetch_after(block);
    if (before_read_) before_read_();
    block.job->read(block.block, buffer, direct_);
    const bool finished = compute(block, buffer);
    done_bytes_ += block.job->block_bytes(block.block);
    if (finished) done(*block.job);
    report();
  }

  void report_end() const {
    if (progress_) progress_({phase_, total_bytes_, total_bytes_});
  }

 private:
  // At most `threads` at a time.
  bool compute(const Block& block, const BlockBuffer& buffer) {
    const Turn turn(computing_);
    return block.job->run(block.block, buffer);
  }

  // If another worker is already prefetching, leave it to that one.
  void prefetch_after(const Block& block) {
    const std::unique_lock lock(prefetching_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    const int64_t end = block.before_bytes + ahead_bytes_;
    for (; next_ < blocks_.size() && blocks_[next_].before_bytes < end; ++next_) {
      blocks_[next_].job->prefetch(blocks_[next_].block);
    }
  }

  void report() {
    if (!progress_) return;
    const std::unique_lock lock(reporting_, std::try_to_lock);
    if (lock.owns_lock()) progress_({phase_, done_bytes_, total_bytes_});
  }

  std::vector<Block> blocks_;
  int64_t total_bytes_ = 0;
  const std::span<const DirectReader> direct_;
  std::vector<BlockBuffer> buffers_;  // per worker
  Permits computing_;
  const int64_t ahead_bytes_;
  std::mutex prefetching_;
  size_t next_ = 0;  // the first block not prefetched yet
  std::atomic<int64_t> done_bytes_{0};
  std::mutex reporting_;
  const std::string_view phase_;
  const ProgressFn& progress_;
  const std::function<void()>& before_read_;
};

}  // namespace

int64_t run_pass(std::deque<TensorJob>& jobs, int threads, std::span<const DirectReader> direct,
                 std::string_view phase, const ProgressFn& progress,
                 const std::function<void(TensorJob&)>& done,
                 const std::function<void()>& before_read) {
  if (jobs.empty()) return 0;
  Pass pass(jobs, threads, direct, phase, progress, before_read);
  parallel_for(pass.workers(), pass.blocks(),
               [&](int64_t index, int worker) { pass.run(index, worker, done); });
  pass.report_end();
  return pass.total_bytes();
}

}  // namespace ram
