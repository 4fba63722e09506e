/* Weight gradient of 3x3 convolutions (padding 1, any stride) of bfloat16 images in channels-last memory, by AVX-512's
   products of pairs.

   images [B, H, W, I], grads of the outputs [B, H', W', O]
   result[o][kh][kw][i] = sum over all outputs and their pixels (y, x) of
                          grads[y, x, o] * images[stride * y + kh - 1, stride * x + kw - 1, i]

   An instruction adds up two pixels of a row, of sixteen input channels and one output channel. A pass keeps 8 output
   channels x 3 columns of the kernel x 16 input channels in twenty-four registers and runs over a chunk: a strip of one
   image's rows, or several images. There are copies of the images' rows as pairs from the first, second and third pixel
   on, zeros standing for those beside an image, so that each column of the kernel meets the same pairs of the grads. With
   stride 1 the third copy is the first, a pair further. Rows above and below an image are left out. What a pass adds up
   is one chunk: sums stay short, which keeps their digits. Meanwhile it fetches a part of the next one's numbers. */

#include "least.h"
#include "thread_sums.h"

#include <immintrin.h>
#include <string.h>

typedef unsigned short number; /* bfloat16: the upper half of a float */

enum { SIDE = 16, PAIR = 2 * SIDE, OUTPUTS = 8, CHUNK = 1024 }; /* the last: output pixels */

static long upwards(long value, long unit) { return (value + unit - 1) / unit; }

/* What doesn't change from chunk to chunk. Of the input: height, width and `in` channels; of the output: rows, columns
   and `out` channels, `pairs` of pixels in a row. A chunk has `strip` rows of each of `together` outputs. */
typedef struct {
    long stride, batch, height, width, in, rows, columns, out, pairs, strip, together;
} layer;

static layer layer_of(long stride, long batch, long height, long width, long in, long out, long threads) {
    layer of = {stride, batch, height, width, in, (height - 1) / stride + 1, (width - 1) / stride + 1, out, 0, 0, 0};
    const long images = CHUNK / (of.rows * of.columns), most = CHUNK / of.columns;
    of.pairs = upwards(of.columns, 2);
    of.strip = least(of.rows, most < 1 ? 1 : most);
    of.together = least(images < 1 ? 1 : images, upwards(batch, threads));
    return of;
}

static long chunks(const layer *of) { return upwards(of->batch, of->together) * upwards(of->rows, of->strip); }

/* Rows of the input that a strip of the output meets. */
static long input_rows(const layer *of) { return of->stride * (of->strip - 1) + 3; }

/* Numbers of a chunk: of 16 channels' grads, and of a copy of 16 channels' images, whose rows have a pair more. */
static long block_of_grads(const layer *of) { return of->together * of->strip * of->pairs * PAIR; }
static long block_of_images(const layer *of) { return of->together * input_rows(of) * (of->pairs + 1) * PAIR; }

static long copies(const layer *of) { return of->stride == 1 ? 2 : 3; }

static long sums(const layer *of) { return 9 * of->in * of->out; }

static long scratch_of_thread(const layer *of) {
    const long numbers = of->out / SIDE * block_of_grads(of) + of->in / SIDE * copies(of) * block_of_images(of);
    return sums(of) * sizeof(float) + numbers * sizeof(number);
}

/* A chunk: outputs `first` ... `first + count`, of each the rows `top` ... `bottom`. */
typedef struct {
    long first, count, top, bottom;
} chunk;

static chunk chunk_at(const layer *of, long index) {
    const long strips = upwards(of->rows, of->strip), first = index / strips * of->together;
    const long top = index % strips * of->strip;
    return (chunk){first, least(of->together, of->batch - first), top, least(top + of->strip, of->rows)};
}

/* Sixteen channels of a pixel, each in the lower half of 32 bits; zeros beside the image. */
static inline __m512i pixel(const number *row, long column, long width, long channels) {
    if (column < 0 || column >= width) return _mm512_setzero_si512();
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(row + column * channels)));
}

/* Sixteen channels of a row -> pairs [pairs, 16, 2] of the pixels in columns first, first + step, first + 2 * step ... */
static void pair_row(const number *row, long width, long channels, long first, long step, long pairs, number *to) {
    for (long pair = 0, column = first; pair < pairs; pair++, column += 2 * step) {
        const __m512i left = pixel(row, column, width, channels), right = pixel(row, column + step, width, channels);
        _mm512_store_si512(to + pair * PAIR, _mm512_or_si512(left, _mm512_slli_epi32(right, 16)));
    }
}

/* [O / 16, outputs, rows, pairs, 16, 2] */
static void pair_grads(const layer *of, const chunk *some, const number *grads, number *to) {
    for (long block = 0; block < of->out; block += SIDE, to += block_of_grads(of))
        for (long image = 0; image < some->count; image++)
            for (long y = some->top; y < some->bottom; y++) {
                const number *row = grads + ((some->first + image) * of->rows + y) * of->columns * of->out + block;
                number *at = to + (image * of->strip + y - some->top) * of->pairs * PAIR;
                pair_row(row, of->columns, of->out, 0, 1, of->pairs, at);
            }
}

/* [I / 16, copies, images, rows, pairs + 1, 16, 2]; rows above and below an image are left as they are. */
static void pair_images(const layer *of, const chunk *some, const number *images, number *to) {
    const long above = of->stride * some->top - 1, below = of->stride * (some->bottom - 1) + 2;
    for (long block = 0; block < of->in; block += SIDE)
        for (long copy = 0; copy < copies(of); copy++, to += block_of_images(of))
            for (long image = 0; image < some->count; image++)
                for (long y = above < 0 ? 0 : above; y < least(below, of->height); y++) {
                    const number *row = images + ((some->first + image) * of->height + y) * of->width * of->in + block;
                    number *at = to + (image * input_rows(of) + y - above) * (of->pairs + 1) * PAIR;
                    pair_row(row, of->width, of->in, copy - 1, of->stride, of->pairs + (copy == 0), at);
                }
}

/* The pairs that meet the grads at the kernel's column kw. */
static const number *at_column(const layer *of, const number *images, long kw) {
    return kw < copies(of) ? images + kw * block_of_images(of) : images + PAIR;
}

/* Numbers in memory, to be fetched into the second cache before they are asked for. */
typedef struct {
    const number *begin;
    long count;
} span;

static span images_of(const layer *of, const chunk *some, const number *images) {
    const long row = of->width * of->in, rows = (some->count - 1) * of->height + (some->bottom - some->top) * of->stride;
    return (span){images + (some->first * of->height + some->top * of->stride) * row, rows * row};
}

static span grads_of(const layer *of, const chunk *some, const number *grads) {
    const long row = of->columns * of->out, rows = (some->count - 1) * of->rows + some->bottom - some->top;
    return (span){grads + (some->first * of->rows + some->top) * row, rows * row};
}

static void fetch(span some, long part, long parts) {
    enum { LINE = 64 / sizeof(number) };
    for (long at = part * some.count / parts; at < (part + 1) * some.count / parts; at += LINE)
        __builtin_prefetch(some.begin + at, 0, 2);
}

/* A pass over a chunk, for a row kh of the kernel: grads of 8 channels, the pairs of 16 input channels. */
static void pass(const layer *of, const chunk *some, long kh, const number *grads, const number *images, float *out) {
    const long row = of->pairs * PAIR;
    const number *const columns[3] = {images, at_column(of, images, 1), at_column(of, images, 2)};
    const long begin = kh == 0 && some->top == 0 ? 1 : some->top; /* the rows that meet a row of the input */
    const long end = least(some->bottom, upwards(of->height - kh + 1, of->stride));
    __m512 sums[OUTPUTS][3] = {0};
    for (long image = 0; image < some->count; image++)
        for (long y = begin - some->top; y < end - some->top; y++) {
            const number *grad = grads + (image * of->strip + y) * row;
            const long line = (image * input_rows(of) + of->stride * y + kh) * (row + PAIR);
            for (long at = 0; at < row; at += PAIR) {
                __m512bh factors[3];
                for (int kw = 0; kw < 3; kw++) factors[kw] = (__m512bh)_mm512_load_si512(columns[kw] + line + at);
                for (int o = 0; o < OUTPUTS; o++) {
                    int pair;
                    memcpy(&pair, grad + at + 2 * o, sizeof pair);
                    const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
                    for (int kw = 0; kw < 3; kw++) sums[o][kw] = _mm512_dpbf16_ps(sums[o][kw], factors[kw], both);
                }
            }
        }
    for (int o = 0; o < OUTPUTS; o++)
        for (int kw = 0; kw < 3; kw++) {
            float *to = out + (o * 9 + kw) * of->in;
            _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums[o][kw]));
        }
}

static void add_chunk(const layer *of, const chunk *some, const number *grads, const number *images,
                      const span next[2], float *to) {
    const long passes = of->in / SIDE * (of->out / OUTPUTS) * 3;
    for (long at = 0; at < passes; at++) {
        const long kh = at % 3, o = at / 3 % (of->out / OUTPUTS) * OUTPUTS, i = at / (3 * (of->out / OUTPUTS)) * SIDE;
        for (int each = 0; each < 2; each++) fetch(next[each], at, passes);
        pass(of, some, kh, grads + o / SIDE * block_of_grads(of) + o % SIDE * 2,
             images + i / SIDE * copies(of) * block_of_images(of), to + (o * 9 + kh * 3) * of->in + i);
    }
}

/* A thread's chunks, added up at the beginning of its scratch. */
static void add_chunks(const layer *of, const number *images, const number *grads, void *scratch, long begin, long end) {
    number *pairs = (number *)((float *)scratch + sums(of)), *of_images = pairs + of->out / SIDE * block_of_grads(of);
    memset(scratch, 0, sums(of) * sizeof(float));
    for (long index = begin; index < end; index++) {
        const chunk some = chunk_at(of, index);
        pair_grads(of, &some, grads, pairs);
        pair_images(of, &some, images, of_images);
        const chunk next = chunk_at(of, least(index + 1, end - 1));
        const span soon[2] = {images_of(of, &next, images), grads_of(of, &next, grads)};
        add_chunk(of, &some, pairs, of_images, soon, scratch);
    }
}

/* Bytes that each thread needs. */
int scratch_bytes(long batch, long height, long width, long in, long out, long stride, long threads) {
    const layer of = layer_of(stride, batch, height, width, in, out, threads);
    return scratch_of_thread(&of);
}

/* Height and width are the images'; in and out are multiples of 16; result [out, 3, 3, in]; scratch [threads] is aligned
   to 64 bytes. */
void weight_gradient(const number *images, const number *grads, float *result, unsigned char *scratch, long batch,
                     long height, long width, long in, long out, long stride, long threads) {
    const layer of = layer_of(stride, batch, height, width, in, out, threads);
    const long bytes = scratch_of_thread(&of), count = chunks(&of);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++)
        add_chunks(&of, images, grads, scratch + thread * bytes, thread * count / threads,
                   (thread + 1) * count / threads);
    add_threads(scratch, bytes, threads, result, sums(&of));
}
