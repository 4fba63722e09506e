/* Batch normalisation of images in channels-last memory, with what follows it: a shortcut's addition and ReLU.

   images, grads, outputs, skip: [values, channels] as `number`, values = B * H * W; channels is a multiple of LANES.
   `number` is float, or bfloat16 where BFLOAT16 is defined: everything is computed in float all the same.
   through [values, channels / LANES]: where ReLU let values through, a bit each. NULL: there was no ReLU.
   Sums are added up in float over at most ROWS values, and those sums in double. sums [threads, 2, channels] begin at
   zero. */

#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#include "least.h"

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { ROWS = 256, AT_ONCE = 4 };

static vector load_floats(const float *from) { return *(const vector *)from; }

#ifdef BFLOAT16 /* the upper half of a float; LANES is 16 */
typedef unsigned short number;

static vector load(const number *from) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return (vector)_mm512_slli_epi32(bits, 16);
}

static void store(number *to, vector values) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)values));
}
#else
typedef float number;

static vector load(const number *from) { return load_floats(from); }

static void store(number *to, vector values) { *(vector *)to = values; }
#endif

/* A bit for each value that ReLU lets through, and for what is no number; values where there is one, else 0. */
#if LANES == 16
typedef __mmask16 bits;

static bits positive(vector values) {
    return _mm512_cmp_ps_mask((__m512)values, _mm512_setzero_ps(), _CMP_NLE_UQ);
}

static vector passed(vector values, bits through) { return (vector)_mm512_maskz_mov_ps(through, (__m512)values); }
#else
typedef unsigned char bits;

static bits positive(vector values) {
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)values, _mm256_setzero_ps(), _CMP_NLE_UQ));
}

static vector passed(vector values, bits through) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i there = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(through), each), each);
    return (vector)_mm256_and_ps((__m256)values, (__m256)there);
}
#endif

#define INLINE static inline __attribute__((always_inline))

/* Vectors of channels at once; sums beside one another. */
enum { COLUMNS = 64 / LANES, SUMS = 4 };

/* A function over rows begin ... end for all channels, in blocks of `rows`; 64 channels at once, and what is left by
   fewer. How many is known to the compiler, so that what belongs to channels stays in registers. */
#define IN_BLOCKS(rows, function, ...)                                                                             \
    do {                                                                                                           \
        for (long from = begin; from < end; from += (rows)) {                                                      \
            const long to = from + least((rows), end - from);                                                      \
            long first = 0;                                                                                        \
            for (; first + 64 <= channels; first += 64) function(__VA_ARGS__, from, to, channels, first, COLUMNS); \
            for (; first + 4 * LANES <= channels; first += 4 * LANES)                                              \
                function(__VA_ARGS__, from, to, channels, first, 4);                                               \
            for (; first + 2 * LANES <= channels; first += 2 * LANES)                                              \
                function(__VA_ARGS__, from, to, channels, first, 2);                                               \
            for (; first < channels; first += LANES) function(__VA_ARGS__, from, to, channels, first, 1);          \
        }                                                                                                          \
    } while (0)

/* A vector's part in two sums of `add_rows`. */
INLINE void add_vector(const number *grads, const number *more, const number *images, const bits *through, number *both,
                       vector centre, long at, vector *plain, vector *weighted) {
    const vector distance = load(images + at) - centre;
    vector factor = grads == NULL ? distance : load(grads + at);
    if (more != NULL) factor += load(more + at);
    if (through != NULL) factor = passed(factor, through[at / LANES]);
    if (more != NULL) store(both + at, factor);
    *plain += factor;
    *weighted += factor * distance;
}

/* With x of images and g of grads that ReLU let through, over rows begin ... end: sums[0] += g, sums[1] += g * (x - mean).
   Without grads: sums[0] += x, sums[1] += x * x, about the first row. With `more` grads, which are added to the others,
   `both` [values, channels] become g. Of `columns` vectors of channels, from `first` on, as all functions over rows. */
INLINE void add_rows(const number *grads, const number *more, const number *images, const bits *through, number *both,
                     const float *mean, double *sums, long begin, long end, long channels, long first,
                     const int columns) {
    const int at_once = columns < SUMS ? SUMS / columns : 1;
    const long rows = end - begin;
    vector centre[COLUMNS], plain[COLUMNS] = {{0}}, weighted[COLUMNS] = {{0}};
    for (int column = 0; column < columns; column++) {
        const long c = first + column * LANES;
        centre[column] = grads == NULL ? load(images + begin * channels + c) : load_floats(mean + c);
    }
    long row = begin;
    for (; row + at_once <= end; row += at_once)
        for (int each = 0; each < at_once; each++)
            for (int column = 0; column < columns; column++) {
                const long at = (row + each) * channels + first + column * LANES;
                const int sum = each * columns + column;
                add_vector(grads, more, images, through, both, centre[column], at, plain + sum, weighted + sum);
            }
    for (; row < end; row++)
        for (int column = 0; column < columns; column++) {
            const long at = row * channels + first + column * LANES;
            add_vector(grads, more, images, through, both, centre[column], at, plain + column, weighted + column);
        }
    for (int column = 0; column < columns; column++) {
        for (int sum = column + columns; sum < at_once * columns; sum += columns) {
            plain[column] += plain[sum];
            weighted[column] += weighted[sum];
        }
        const long c = first + column * LANES;
        for (int lane = 0; lane < LANES; lane++) {
            const double about = grads == NULL ? centre[column][lane] : 0, sum = plain[column][lane];
            sums[c + lane] += sum + rows * about;
            sums[channels + c + lane] += weighted[column][lane] + 2 * about * sum + rows * about * about;
        }
    }
}

/* outputs = ReLU(images * scale + shift + skip); skip may be NULL, without relu there is no ReLU. `through` is written
   where there is one and it is not NULL. */
INLINE void normalise_rows(const number *images, const number *skip, number *outputs, bits *through, const float *scale,
                           const float *shift, long relu, long begin, long end, long channels, long first,
                           const int columns) {
    vector factor[COLUMNS], summand[COLUMNS];
    for (int column = 0; column < columns; column++) {
        factor[column] = load_floats(scale + first + column * LANES);
        summand[column] = load_floats(shift + first + column * LANES);
    }
    for (long row = begin; row < end; row++)
        for (int column = 0; column < columns; column++) {
            const long at = row * channels + first + column * LANES;
            vector found = load(images + at) * factor[column] + summand[column];
            if (skip != NULL) found += load(skip + at);
            if (relu) {
                const bits above = positive(found);
                if (through != NULL) through[at / LANES] = above;
                found = passed(found, above);
            }
            store(outputs + at, found);
        }
}

void normalise(const number *images, const number *skip, number *outputs, bits *through, const float *scale,
               const float *shift, long relu, long values, long channels, long threads) {
    const long rows = channels > 64 ? 1 : values;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        const long begin = thread * values / threads, end = (thread + 1) * values / threads;
        if (skip == NULL)
            IN_BLOCKS(rows, normalise_rows, images, NULL, outputs, through, scale, shift, relu);
        else
            IN_BLOCKS(rows, normalise_rows, images, skip, outputs, through, scale, shift, relu);
    }
}

/* sums [threads, 2, channels] += what `add_rows` adds up, each thread a part of the rows. */
static void add_up(const number *grads, const number *more, const number *images, const bits *through, number *both,
                   const float *mean, double *sums, long values, long channels, long threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        double *of_thread = sums + thread * 2 * channels;
        const long begin = thread * values / threads, end = (thread + 1) * values / threads;
        if (grads == NULL)
            IN_BLOCKS(ROWS, add_rows, NULL, NULL, images, NULL, NULL, NULL, of_thread);
        else if (more != NULL)
            IN_BLOCKS(ROWS, add_rows, grads, more, images, through, both, mean, of_thread);
        else if (through == NULL)
            IN_BLOCKS(ROWS, add_rows, grads, NULL, images, NULL, NULL, mean, of_thread);
        else
            IN_BLOCKS(ROWS, add_rows, grads, NULL, images, through, NULL, mean, of_thread);
    }
}

/* of_images = a * grads + b * (images - mean) + c, of_skip = grads, with grads that ReLU let through. of_skip may be
   NULL. */
INLINE void gradient_rows(const number *grads, const number *images, const bits *through, const float *mean,
                          const float *a, const float *b, const float *c, number *of_images, number *of_skip,
                          long begin, long end, long channels, long first, const int columns) {
    vector centre[COLUMNS], by_grad[COLUMNS], by_distance[COLUMNS], plus[COLUMNS];
    for (int column = 0; column < columns; column++) {
        const long channel = first + column * LANES;
        centre[column] = load_floats(mean + channel);
        by_grad[column] = load_floats(a + channel);
        by_distance[column] = load_floats(b + channel);
        plus[column] = load_floats(c + channel);
    }
    for (long row = begin; row < end; row++)
        for (int column = 0; column < columns; column++) {
            const long at = row * channels + first + column * LANES;
            vector grad = load(grads + at);
            if (through != NULL) grad = passed(grad, through[at / LANES]);
            const vector distance = load(images + at) - centre[column];
            store(of_images + at, by_grad[column] * grad + (by_distance[column] * distance + plus[column]));
            if (of_skip != NULL) store(of_skip + at, grad);
        }
}

static void gradients(const number *grads, const number *images, const bits *through, const float *mean,
                      const float *a, const float *b, const float *c, number *of_images, number *of_skip, long values,
                      long channels, long threads) {
    const long rows = channels > 64 ? 1 : values;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        const long begin = thread * values / threads, end = (thread + 1) * values / threads;
        if (through == NULL)
            IN_BLOCKS(rows, gradient_rows, grads, images, NULL, mean, a, b, c, of_images, of_skip);
        else if (of_skip == NULL)
            IN_BLOCKS(rows, gradient_rows, grads, images, through, mean, a, b, c, of_images, NULL);
        else
            IN_BLOCKS(rows, gradient_rows, grads, images, through, mean, a, b, c, of_images, of_skip);
    }
}

static double over_threads(const double *sums, long which, long channel, long channels, long threads) {
    double total = 0;
    for (long thread = 0; thread < threads; thread++) total += sums[(thread * 2 + which) * channels + channel];
    return total;
}

/* outputs = ReLU(weight * (images - mean) / sqrt(var + eps) + bias + skip); skip may be NULL.
   The running statistics move by `share` towards the batch's mean and unbiased variance; without them they are NULL.
   of_channels [3, channels]: the mean, and two rows to work in. inverse_std [channels]. */
void forward(const number *images, const number *skip, number *outputs, bits *through, const float *weight,
             const float *bias, float *running_mean, float *running_var, double *sums, float *of_channels,
             double *inverse_std, double share, double eps, long relu, long values, long channels, long threads) {
    float *scale = of_channels + channels, *shift = of_channels + 2 * channels;
    add_up(NULL, NULL, images, NULL, NULL, NULL, sums, values, channels, threads);
    for (long c = 0; c < channels; c++) {
        const double mean = over_threads(sums, 0, c, channels, threads) / values;
        const double var = over_threads(sums, 1, c, channels, threads) / values - mean * mean;
        inverse_std[c] = 1 / sqrt(var + eps);
        of_channels[c] = mean;
        if (running_mean != NULL) {
            running_mean[c] += share * (mean - running_mean[c]);
            running_var[c] += share * (var * values / (values - 1) - running_var[c]);
        }
        scale[c] = weight[c] * inverse_std[c];
        shift[c] = bias[c] - mean * weight[c] * inverse_std[c];
    }
    normalise(images, skip, outputs, through, scale, shift, relu, values, channels, threads);
}

/* With y = weight * n + bias and n = (x - mean) / std: of weight sum(g * n), of bias sum(g), of x
   weight / std * (g - of_bias / values - n * of_weight / values).
   of_channels [5, channels]: gradients of weight and bias, and three rows to work in. `more` may be NULL: grads of the
   same outputs from elsewhere, to be added to `grads`; with them there must be of_skip. */
void backward(const number *grads, const number *more, const number *images, const bits *through, const float *mean,
              const double *inverse_std, const float *weight, double *sums, float *of_channels, number *of_images,
              number *of_skip, long values, long channels, long threads) {
    float *a = of_channels + 2 * channels, *b = of_channels + 3 * channels, *c = of_channels + 4 * channels;
    add_up(grads, more, images, through, of_skip, mean, sums, values, channels, threads);
    for (long channel = 0; channel < channels; channel++) {
        const double of_bias = over_threads(sums, 0, channel, channels, threads);
        const double of_weight = over_threads(sums, 1, channel, channels, threads) * inverse_std[channel];
        const double factor = weight[channel] * inverse_std[channel];
        of_channels[channel] = of_weight;
        of_channels[channels + channel] = of_bias;
        a[channel] = factor;
        b[channel] = -factor * inverse_std[channel] * of_weight / values;
        c[channel] = -factor * of_bias / values;
    }
    if (more != NULL) /* of_skip is finished */
        gradients(of_skip, images, NULL, mean, a, b, c, of_images, NULL, values, channels, threads);
    else
        gradients(grads, images, through, mean, a, b, c, of_images, of_skip, values, channels, threads);
}
