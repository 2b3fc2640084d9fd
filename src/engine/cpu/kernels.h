// The element-wise arithmetic of a forward pass, in vectors (Highway), each function on one thread.
// All float32; lengths need not be multiples of a vector. Sums are added in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ram {

/// out = x / sqrt(mean(x^2) + epsilon) * weight. out may be x.
void rms_norm_row(const float* x, const float* weight, int64_t count, float epsilon, float* out);

/// Rotates one head: the first half of x with the second. cosines and sines hold dim / 2 values.
void rotate_head(float* x, const float* cosines, const float* sines, int64_t dim);

/// gate = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
void gate_row(float* gate, const float* up, int64_t count);

/// With y = silu(gate) * up: the gradients of gate and up from that of y.
void gate_back_row(const float* gate, const float* up, const float* dy, int64_t count, float* dgate,
                   float* dup);

/// x = exp(scale (x - max x)) / sum of it. @param scale > 0
void softmax_row(float* x, int64_t count, float scale);

/// @return the largest of x. @pre count > 0
float largest_of_row(const float* x, int64_t count);

/// @return sum of exp(x - shift). @param shift at least about the largest x
float sum_exp_row(const float* x, int64_t count, float shift);

/// x = -exp(x - shift).
void negative_exp_row(float* x, int64_t count, float shift);

/// x += scale * y.
void add_scaled_row(float* x, const float* y, float scale, int64_t count);

/// x *= scale.
void scale_row(float* x, float scale, int64_t count);

/// Rounds to bf16, to nearest, ties to even; still stored as float32.
void round_row_to_bf16(float* x, int64_t count);

/// The upper halves of floats that are already bf16 values.
void narrow_row_to_bf16(const float* x, int64_t count, uint16_t* out);

/// @return the index of the first value that is NaN or infinite, or -1.
int64_t find_non_finite_float(const float* x, int64_t count);

/// The products of one query with keys: out[j] = x . y_j, y_j at y + j * stride, j in [0, rows).
void dot_rows(const float* x, const float* y, int64_t stride, int64_t rows, int64_t count,
              float* out);

/// out += sum over j of scales[j] y_j, in order.
void add_weighted_rows(const float* scales, const float* y, int64_t stride, int64_t rows,
                       int64_t count, float* out);

/// @return sum of x * y, of which every 256 are added in double.
double dot_in_double(const float* x, const float* y, int64_t count);

}  // namespace ram
