/* Weight gradient of 3x3 convolutions (stride 1, padding 1) of bfloat16 images in channels-last memory, by AMX.

   images [B, H, W, I], grads of the outputs [B, H, W, O]
   result[o][kh][kw][i] = sum over all images and pixels (y, x) of grads[y, x, o] * images[y + kh - 1, x + kw - 1, i]

   All pixels stand in one line: a zero behind each row and a row of zeros behind each image serve as the borders on both
   sides. Then a shift by (kh, kw) is one by kh * (W + 1) + kw pixels, and no pixel is a special case.

   A tile product adds up 32 pixels: grads [16 channels, 32 pixels] times images [16 pairs of pixels, 16 channels, 2].
   Odd shifts break the pairs, so there are two copies of the images, from even and from odd pixels on. */

#include "least.h"
#include "thread_sums.h"

#include <immintrin.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef unsigned short number; /* bfloat16: the upper half of a float */

enum { SIDE = 16, DEPTH = 32, TILE = SIDE * DEPTH, LEAST_CHUNK = 1024 };

static long up(long value, long unit) { return (value + unit - 1) / unit * unit; }

/* Of a layer: what doesn't change from chunk to chunk of rows. */
typedef struct {
    long height, width, in, out, rows, chunk; /* rows: of all images, those of zeros too */
} layer;

/* Pixels of a chunk's grads, of its images (two rows and two pixels more), and pairs of the latter: all with some zeros. */
static long grad_pixels(const layer *of) { return up(of->chunk * (of->width + 1), DEPTH); }
static long image_pixels(const layer *of) { return grad_pixels(of) + 2 * (of->width + 1) + DEPTH; }
static long image_pairs(const layer *of) { return image_pixels(of) / 2 - 1; }

/* Rows begin ... begin + rows in one line, `pixels` long with zeros behind them. */
static void copy_line(const layer *of, const number *images, number *line, long begin, long rows, long pixels,
                      long channels) {
    const long width = of->width * channels;
    number *to = line;
    for (long row = begin; row < begin + rows; row++, to += width + channels) {
        const long image = row / (of->height + 1), y = row % (of->height + 1);
        if (row < 0 || row >= of->rows || y == of->height) {
            memset(to, 0, (width + channels) * sizeof(number));
            continue;
        }
        memcpy(to, images + (image * of->height + y) * width, width * sizeof(number));
        memset(to + width, 0, channels * sizeof(number));
    }
    memset(to, 0, (line + pixels * channels - to) * sizeof(number));
}

static __m512i widened(const number *channels) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)channels));
}

static __m512i paired(__m512i first, __m512i second) { return _mm512_or_si512(first, _mm512_slli_epi32(second, 16)); }

/* line [pixels, I] -> pairs [2 copies, I / 16, pairs, 16, 2] */
static void pair_images(const layer *of, const number *line, number *pairs) {
    const long count = image_pairs(of), copy = of->in / SIDE * count * DEPTH;
    for (long block = 0; block < of->in; block += SIDE, pairs += count * DEPTH) {
        __m512i first = widened(line + block);
        for (long pair = 0; pair < count; pair++) {
            const number *pixel = line + 2 * pair * of->in + block;
            const __m512i second = widened(pixel + of->in), third = widened(pixel + 2 * of->in);
            _mm512_store_si512(pairs + pair * DEPTH, paired(first, second));
            _mm512_store_si512(pairs + copy + pair * DEPTH, paired(second, third));
            first = third;
        }
    }
}

/* 16 pairs of pixels [16, 16 channels, 2] -> [16 channels, 32 pixels] */
static void transpose(__m512i rows[SIDE], number *to) {
    __m512i other[SIDE];
    for (int row = 0; row < SIDE; row += 2) {
        other[row] = _mm512_unpacklo_epi32(rows[row], rows[row + 1]);
        other[row + 1] = _mm512_unpackhi_epi32(rows[row], rows[row + 1]);
    }
    for (int row = 0; row < SIDE; row += 4)
        for (int half = 0; half < 2; half++) {
            rows[row + 2 * half] = _mm512_unpacklo_epi64(other[row + half], other[row + 2 + half]);
            rows[row + 2 * half + 1] = _mm512_unpackhi_epi64(other[row + half], other[row + 2 + half]);
        }
    /* rows[4 * r + c]: of rows 4 * r ... 4 * r + 3 the columns c, c + 4, c + 8, c + 12 */
    for (int column = 0; column < 4; column++) {
        const __m512i even_upper = _mm512_shuffle_i32x4(rows[column], rows[4 + column], 0x88);
        const __m512i odd_upper = _mm512_shuffle_i32x4(rows[column], rows[4 + column], 0xdd);
        const __m512i even_lower = _mm512_shuffle_i32x4(rows[8 + column], rows[12 + column], 0x88);
        const __m512i odd_lower = _mm512_shuffle_i32x4(rows[8 + column], rows[12 + column], 0xdd);
        _mm512_store_si512(to + column * DEPTH, _mm512_shuffle_i32x4(even_upper, even_lower, 0x88));
        _mm512_store_si512(to + (column + 4) * DEPTH, _mm512_shuffle_i32x4(odd_upper, odd_lower, 0x88));
        _mm512_store_si512(to + (column + 8) * DEPTH, _mm512_shuffle_i32x4(even_upper, even_lower, 0xdd));
        _mm512_store_si512(to + (column + 12) * DEPTH, _mm512_shuffle_i32x4(odd_upper, odd_lower, 0xdd));
    }
}

/* line [pixels, O] -> tiles [O / 16, pixels / 32, 16, 32] */
static void tile_grads(const layer *of, const number *line, number *tiles) {
    const long pixels = grad_pixels(of);
    for (long block = 0; block < of->out; block += SIDE)
        for (long begin = 0; begin < pixels; begin += DEPTH, tiles += TILE) {
            __m512i rows[SIDE];
            for (int pair = 0; pair < SIDE; pair++) {
                const number *pixel = line + (begin + 2 * pair) * of->out + block;
                rows[pair] = paired(widened(pixel), widened(pixel + of->out));
            }
            transpose(rows, tiles);
        }
}

/* GCC's tile instructions don't say that they read memory: after this, what was written lies there. */
static inline void settle(const void *memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

/* A pass over a chunk: a row of the kernel, 16 input channels, and 16 output channels or 32. The sums are in tiles 0 ... 2
   and 3 ... 5. */
static inline __attribute__((always_inline)) void pass(const number *grads, const number *const images[3], float *out,
                                                       long steps, long in, int of_32) {
    const long stride = 9 * in * sizeof(float);
    const number *more_grads = grads + steps * TILE;
    float *more = out + SIDE * 9 * in;
    settle(grads);
    _tile_loadd(0, out, stride);
    _tile_loadd(1, out + in, stride);
    _tile_loadd(2, out + 2 * in, stride);
    if (of_32) {
        _tile_loadd(3, more, stride);
        _tile_loadd(4, more + in, stride);
        _tile_loadd(5, more + 2 * in, stride);
    }
    for (long at = 0; at < steps * TILE; at += TILE) {
        _tile_loadd(6, grads + at, 64);
        _tile_loadd(7, images[0] + at, 64);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, images[1] + at, 64);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, images[2] + at, 64);
        _tile_dpbf16ps(2, 6, 7);
        if (of_32) {
            _tile_loadd(6, more_grads + at, 64);
            _tile_dpbf16ps(5, 6, 7);
            _tile_loadd(7, images[1] + at, 64);
            _tile_dpbf16ps(4, 6, 7);
            _tile_loadd(7, images[0] + at, 64);
            _tile_dpbf16ps(3, 6, 7);
        }
    }
    _tile_stored(0, out, stride);
    _tile_stored(1, out + in, stride);
    _tile_stored(2, out + 2 * in, stride);
    if (of_32) {
        _tile_stored(3, more, stride);
        _tile_stored(4, more + in, stride);
        _tile_stored(5, more + 2 * in, stride);
    }
}

static void add_chunk(const layer *of, const number *tiles, const number *pairs, float *to) {
    const long steps = grad_pixels(of) / DEPTH, count = image_pairs(of), copy = of->in / SIDE * count * DEPTH;
    for (long o = 0; o < of->out; o += 2 * SIDE)
        for (long i = 0; i < of->in; i += SIDE)
            for (long kh = 0; kh < 3; kh++) {
                const number *grads = tiles + o / SIDE * steps * TILE, *images[3];
                float *out = to + (o * 9 + kh * 3) * of->in + i;
                for (long kw = 0; kw < 3; kw++) {
                    const long shift = kh * (of->width + 1) + kw;
                    images[kw] = pairs + shift % 2 * copy + (i / SIDE * count + shift / 2) * DEPTH;
                }
                if (o + SIDE < of->out)
                    pass(grads, images, out, steps, of->in, 1);
                else
                    pass(grads, images, out, steps, of->in, 0);
            }
}

static layer layer_of(long batch, long height, long width, long in, long out, long threads) {
    layer of = {height, width, in, out, batch * (height + 1), 0};
    const long share = (of.rows + threads - 1) / threads, most = up(LEAST_CHUNK, width + 1) / (width + 1);
    const long chunks = (share + most - 1) / most;
    of.chunk = (share + chunks - 1) / chunks;
    return of;
}

static long line_numbers(const layer *of) { return up(image_pixels(of) * (of->in > of->out ? of->in : of->out), DEPTH); }

static long sums(const layer *of) { return 9 * of->in * of->out; }

static long scratch_of_thread(const layer *of) {
    const long numbers = line_numbers(of) + grad_pixels(of) * of->out + 2 * image_pairs(of) * 2 * of->in;
    return sums(of) * sizeof(float) + numbers * sizeof(number);
}

/* Whether the system lets this process use tiles; to be asked before anything else. */
int permitted(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Bytes that each thread needs; stride is 1. */
int scratch_bytes(long batch, long height, long width, long in, long out, long stride, long threads) {
    (void)stride;
    const layer of = layer_of(batch, height, width, in, out, threads);
    return scratch_of_thread(&of);
}

static void use_tiles(void) {
    unsigned char configuration[64] __attribute__((aligned(64))) = {1}; /* palette 1 */
    for (int tile = 0; tile < 8; tile++) {
        configuration[16 + 2 * tile] = DEPTH * sizeof(number);
        configuration[48 + tile] = SIDE;
    }
    settle(configuration);
    _tile_loadconfig(configuration);
}

/* A thread's rows, added up at the beginning of its scratch. */
static void add_rows(const layer *of, const number *images, const number *grads, void *scratch, long begin, long end) {
    number *line = (number *)((float *)scratch + sums(of)), *tiles = line + line_numbers(of),
           *pairs = tiles + grad_pixels(of) * of->out;
    memset(scratch, 0, sums(of) * sizeof(float));
    for (long row = begin; row < end; row += of->chunk) {
        const long rows = least(of->chunk, end - row);
        copy_line(of, grads, line, row, rows, grad_pixels(of), of->out);
        tile_grads(of, line, tiles);
        memset(line, 0, of->in * sizeof(number)); /* left of the first pixel */
        copy_line(of, images, line + of->in, row - 1, rows + 2, image_pixels(of) - 1, of->in);
        pair_images(of, line, pairs);
        add_chunk(of, tiles, pairs, scratch);
    }
}

/* in and out are multiples of 16; stride is 1; result [out, 3, 3, in]; scratch [threads] is aligned to 64 bytes. */
void weight_gradient(const number *images, const number *grads, float *result, unsigned char *scratch, long batch,
                     long height, long width, long in, long out, long stride, long threads) {
    (void)stride;
    const layer of = layer_of(batch, height, width, in, out, threads);
    const long bytes = scratch_of_thread(&of);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        use_tiles();
        add_rows(&of, images, grads, scratch + thread * bytes, thread * of.rows / threads,
                 (thread + 1) * of.rows / threads);
        _tile_release();
    }
    add_threads(scratch, bytes, threads, result, sums(&of));
}
