/* 3x3 convolutions (padding 1, stride 1 or 2) of bfloat16 images in channels-last memory, and the gradients of their
   images, by AVX-512's products of pairs.

   images [B, H, W, I], outputs [B, H', W', O], weight [O, 3, 3, I]
   outputs[y, x, o] = sum over kh, kw, i of images[stride * y + kh - 1, stride * x + kw - 1, i] * weight[o, kh, kw, i]
   The gradient is the same sum, read from what was written: of all outputs that a pixel meets. With stride 1 that is a
   convolution by the weight turned around.

   An instruction adds up two channels that are read, for sixteen that are written and one pixel. A tile keeps sixteen
   channels of up to sixteen pixels of a row in registers. Each pair that it reads is multiplied by all columns of the
   kernel at once, for the pixels that it meets through them. Nothing is copied: pixels beside an image and rows above
   and below it are left out. */

#include "least.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef unsigned short number; /* bfloat16: the upper half of a float */

enum { SIDE = 16, PAIRS = 2 * SIDE, STRIP = 8 }; /* the last: rows by which a block of the weight is used at a time */

/* What is read [batch, height, width, in], and what is written [batch, rows, columns, out]. */
typedef struct {
    long batch, height, width, in, rows, columns, out, stride;
} layer;

/* The pairs of two channels that are read, for sixteen that are written. weight [O, 3, 3, I], here I are read. */
static __m512i pairs_of_inputs(const number *weight, long to_next_output) {
    const __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_i32gather_epi32(_mm512_mullo_epi32(each, _mm512_set1_epi32(to_next_output)), weight, sizeof(number));
}

/* Here O are read. */
static __m512i pairs_of_outputs(const number *weight, long to_next_output) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)weight));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(weight + to_next_output)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* weight [O, 3, 3, I] -> packed [out / 16, 3 kh, in / 2, 3 kw, 16, 2], where `in` channels are read and `out` written:
   I and O, or O and I where `turned`; with stride 1 `turned` also reverses kh and kw. */
static void pack(const layer *of, const number *weight, number *packed, int turned) {
    const long inputs = turned ? of->out : of->in, to_next_output = 9 * inputs;
    for (long block = 0; block < of->out; block += SIDE)
        for (long kh = 0; kh < 3; kh++)
            for (long i = 0; i < of->in; i += 2)
                for (long kw = 0; kw < 3; kw++, packed += PAIRS) {
                    const long tap = turned && of->stride == 1 ? 8 - (kh * 3 + kw) : kh * 3 + kw;
                    const long output = turned ? i : block, input = turned ? block : i;
                    const number *from = weight + output * to_next_output + tap * inputs + input;
                    const __m512i pairs = (turned ? pairs_of_outputs : pairs_of_inputs)(from, to_next_output);
                    _mm512_storeu_si512(packed, pairs);
                }
}

/* Which pixel of a tile a column that is read meets through a column of the kernel; outside of 0 ... pixels - 1: none.
   Both are counted from where the tile begins. */
INLINE int met(int column, int kw, int stride, int scatters) {
    if (scatters) return stride * column + kw - 1;
    return (column + 1 - kw) % stride == 0 ? (column + 1 - kw) / stride : -1;
}

/* Sixteen channels of `pixels` in a row, from x on. rows: the three that are read, NULL: there is none. weights [3 kh,
   in / 2, 3 kw, 16, 2]. Whether it `scatters`: each column that is read meets `stride` written ones, not the reverse. */
INLINE void tile(const layer *of, const number *const rows[3], const number *weights, number *to, long x,
                 const int pixels, const int stride, const int scatters) {
    const int first = scatters ? 0 : -1, last = scatters ? pixels / stride : stride * (pixels - 1) + 1;
    const long begin = scatters ? x / stride : x * stride;
    const int has_first = begin + first >= 0, has_last = begin + last < of->width;
    __m512 sums[SIDE];
#pragma GCC unroll 16
    for (int pixel = 0; pixel < pixels; pixel++) sums[pixel] = _mm512_setzero_ps();
    for (long kh = 0; kh < 3; kh++) {
        if (rows[kh] == NULL) continue;
        const number *row = rows[kh] + begin * of->in, *at = weights + kh * of->in / 2 * 3 * PAIRS;
        for (long i = 0; i < of->in; i += 2, at += 3 * PAIRS) {
            __m512bh factors[3];
            for (int kw = 0; kw < 3; kw++) factors[kw] = (__m512bh)_mm512_loadu_si512(at + kw * PAIRS);
#pragma GCC unroll 33
            for (int column = first; column <= last; column++) {
                if ((column == first && !has_first) || (column == last && !has_last)) continue;
                int pair;
                memcpy(&pair, row + column * of->in + i, sizeof pair);
                const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 3
                for (int kw = 0; kw < 3; kw++) {
                    const int pixel = met(column, kw, stride, scatters);
                    if (pixel >= 0 && pixel < pixels) sums[pixel] = _mm512_dpbf16_ps(sums[pixel], factors[kw], both);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int pixel = 0; pixel < pixels; pixel++)
        _mm256_storeu_si256((__m256i *)(to + (x + pixel) * of->out), (__m256i)_mm512_cvtneps_pbh(sums[pixel]));
}

/* Sixteen channels of a row, in tiles as wide as fit. */
INLINE void write_row(const layer *of, const number *const rows[3], const number *weights, number *to, const int stride,
                      const int scatters) {
#define TILES(pixels) \
    for (long x = 0; x < of->columns; x += (pixels)) tile(of, rows, weights, to, x, pixels, stride, scatters)
    if (of->columns % 16 == 0)
        TILES(16);
    else if (of->columns % 14 == 0)
        TILES(14);
    else if (of->columns % 8 == 0)
        TILES(8);
    else if (!scatters)
        TILES(7);
#undef TILES
}

/* The rows that an output's row y is computed from. */
static void find_rows(const layer *of, const number *image, long y, int scatters, const number *rows[3]) {
    for (long kh = 0; kh < 3; kh++) {
        const long meets = y + 1 - kh, row = scatters ? meets / of->stride : of->stride * y + kh - 1;
        const int exists = row >= 0 && row < of->height && (!scatters || (meets >= 0 && meets % of->stride == 0));
        rows[kh] = exists ? image + row * of->width * of->in : NULL;
    }
}

/* Rows begin ... end of all images. */
static void write_rows(const layer *of, const number *images, const number *weights, number *outputs, int scatters,
                       long begin, long end) {
    for (long block = 0; block < of->out; block += SIDE)
        for (long at = begin; at < end; at++) {
            const number *rows[3], *of_block = weights + block * 9 * of->in;
            number *to = outputs + at * of->columns * of->out + block;
            find_rows(of, images + at / of->rows * of->height * of->width * of->in, at % of->rows, scatters, rows);
            if (of->stride == 1)
                write_row(of, rows, of_block, to, 1, 0);
            else if (scatters)
                write_row(of, rows, of_block, to, 2, 1);
            else
                write_row(of, rows, of_block, to, 2, 0);
        }
}

static void write_all(const layer *of, const number *images, const number *weight, number *outputs, number *packed,
                      int turned, long threads) {
    const long rows = of->batch * of->rows;
    pack(of, weight, packed, turned);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        const long end = (thread + 1) * rows / threads;
        for (long begin = thread * rows / threads; begin < end; begin += STRIP)
            write_rows(of, images, packed, outputs, turned && of->stride == 2, begin, least(begin + STRIP, end));
    }
}

/* Height and width are the images'; in and out are multiples of 16; the written width, here the outputs', is a multiple
   of 7 or 8. packed: 9 * in * out numbers to work in. */
void convolve(const number *images, const number *weight, number *outputs, number *packed, long batch, long height,
              long width, long in, long out, long stride, long threads) {
    const layer of = {batch, height, width, in, (height - 1) / stride + 1, (width - 1) / stride + 1, out, stride};
    write_all(&of, images, weight, outputs, packed, 0, threads);
}

/* The same of the gradient; grads [B, H', W', O] of what was written. `width` is the written one here. With stride 2 it
   must be a multiple of 8 or 14. */
void image_gradient(const number *grads, const number *weight, number *of_images, number *packed, long batch,
                    long height, long width, long in, long out, long stride, long threads) {
    const layer of = {batch, (height - 1) / stride + 1, (width - 1) / stride + 1, out, height, width, in, stride};
    write_all(&of, grads, weight, of_images, packed, 1, threads);
}
