/* Weight gradient of 3x3 convolutions (stride 1, padding 1) of float32 images in channels-last memory.

   images [B, H, W, I], grads of the outputs [B, H, W, O]
   sums[t][kh][kw][i][o] += sum over thread t's images and all pixels (y, x) of images[y + kh - 1, x + kw - 1, i] * grads[y, x, o]

   A pass keeps a tile of input channels x 3 columns of the kernel x output channels in twelve registers and runs over a
   strip of image rows. The strip's images lie in a copy with a border of zeros, so that no pixel is a special case.
   What a pass adds up is one strip of one image: sums stay short, which keeps their digits. */

#include <stdlib.h>
#include <string.h>

#include "least.h"

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { STRIP_BYTES = 16384 };

/* One pass: VECTORS x LANES output channels, INPUTS input channels. */
#define DEFINE_PASS(NAME, VECTORS, INPUTS)                                                                             \
    static inline __attribute__((always_inline)) void NAME(const float *grads, const float *padded, float *out,        \
                                                           long rows, long width, long in, long out_channels) {        \
        vector sums[INPUTS][3][VECTORS] = {0};                                                                         \
        for (long y = 0; y < rows; y++)                                                                                \
            for (long x = 0; x < width; x++) {                                                                         \
                const float *pixel = padded + (y * (width + 2) + x) * in;                                              \
                const float *grad = grads + (y * width + x) * out_channels;                                            \
                vector factors[VECTORS];                                                                               \
                for (int v = 0; v < VECTORS; v++) factors[v] = *(const vector *)(grad + v * LANES);                    \
                for (int i = 0; i < INPUTS; i++)                                                                       \
                    for (int kw = 0; kw < 3; kw++)                                                                     \
                        for (int v = 0; v < VECTORS; v++) sums[i][kw][v] += factors[v] * pixel[kw * in + i];           \
            }                                                                                                          \
        for (int i = 0; i < INPUTS; i++)                                                                               \
            for (int kw = 0; kw < 3; kw++)                                                                             \
                for (int v = 0; v < VECTORS; v++)                                                                      \
                    *(vector *)(out + (kw * in + i) * out_channels + v * LANES) += sums[i][kw][v];                     \
    }

DEFINE_PASS(pass_of_16, 2, 2)
DEFINE_PASS(pass_of_8, 1, 4)

/* Rows y - 1 ... y + rows of an image, with a border of zeros: padded [rows + 2, W + 2, I]. */
static void copy_padded(const float *image, float *padded, long y, long rows, long height, long width, long in) {
    const size_t border = in * sizeof(float), line = width * in * sizeof(float);
    for (long row = y - 1; row <= y + rows; row++, padded += (width + 2) * in) {
        if (row < 0 || row >= height) {
            memset(padded, 0, line + 2 * border);
            continue;
        }
        memset(padded, 0, border);
        memcpy(padded + in, image + row * width * in, line);
        memset(padded + (width + 1) * in, 0, border);
    }
}

/* A strip: input channels in blocks of a cache line, so that what the passes over a block read stays in the first cache. */
static void add_strip(const float *grads, const float *padded, float *out, long rows, long width, long in,
                      long out_channels) {
    const long tile = out_channels % 16 ? 8 : 16, step = out_channels % 16 ? 4 : 2;
    for (long block = 0; block < in; block += 16)
        for (long o = 0; o < out_channels; o += tile)
            for (long kh = 0; kh < 3; kh++)
                for (long i = block; i < least(block + 16, in); i += step) {
                    const float *from = padded + kh * (width + 2) * in + i;
                    float *to = out + (kh * 3 * in + i) * out_channels + o;
                    if (tile == 16)
                        pass_of_16(grads + o, from, to, rows, width, in, out_channels);
                    else
                        pass_of_8(grads + o, from, to, rows, width, in, out_channels);
                }
}

/* in and out_channels are multiples of 8; sums [threads, 3, 3, in, out_channels] begin at zero. Returns 0, or 1 where
   there was no memory. */
int weight_gradient(const float *images, const float *grads, float *sums, long batch, long height, long width, long in,
                    long out_channels, long threads) {
    long rows = STRIP_BYTES / (16 * (long)sizeof(float)) / width;
    rows = rows < 1 ? 1 : least(rows, height);
    int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : failed)
    for (long thread = 0; thread < threads; thread++) {
        float *padded = malloc((rows + 2) * (width + 2) * in * sizeof(float));
        if (padded == NULL) {
            failed |= 1;
            continue;
        }
        for (long b = thread * batch / threads; b < (thread + 1) * batch / threads; b++)
            for (long y = 0; y < height; y += rows) {
                const long count = least(rows, height - y);
                copy_padded(images + b * height * width * in, padded, y, count, height, width, in);
                add_strip(grads + (b * height + y) * width * out_channels, padded,
                          sums + thread * 9 * in * out_channels, count, width, in, out_channels);
            }
        free(padded);
    }
    return failed;
}
