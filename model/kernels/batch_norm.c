/* Batch normalisation of float32 images in channels-last memory, with what follows it: a shortcut's addition and ReLU.

   images, grads, outputs, skip: [values, channels], values = B * H * W; channels is a multiple of 8.
   Sums are added up in float32 over at most ROWS values, and those sums in double. sums [threads, 2, channels] begin at
   zero. */

#include <math.h>
#include <stddef.h>

typedef float vector __attribute__((vector_size(32), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(32)));

enum { LANES = 8, ROWS = 256, AT_ONCE = 4 };

static long least(long a, long b) { return a < b ? a : b; }

static vector load(const float *from) { return *(const vector *)from; }

static void store(float *to, vector values) { *(vector *)to = values; }

/* values where the output was positive, else 0; what is no number is passed on */
static vector passed(vector values, vector outputs) {
    const vector zero = {0};
    return (vector)((mask)values & ~(outputs <= zero));
}

/* sums[t][0][c] = sum of thread t's values, sums[t][1][c] = of their squares; within a block about the block's mean. */
static void statistics(const float *images, double *sums, long values, long channels, long threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        double *of_thread = sums + thread * 2 * channels;
        const long end = (thread + 1) * values / threads;
        for (long begin = thread * values / threads; begin < end; begin += ROWS) {
            const long rows = least(ROWS, end - begin);
            for (long c = 0; c < channels; c += LANES) {
                const float *from = images + begin * channels + c;
                vector total[AT_ONCE] = {{0}}, squares[AT_ONCE] = {{0}};
                for (long row = 0; row < rows; row++) total[row % AT_ONCE] += load(from + row * channels);
                const vector mean = (total[0] + total[1] + (total[2] + total[3])) / (float)rows;
                for (long row = 0; row < rows; row++) {
                    const vector distance = load(from + row * channels) - mean;
                    squares[row % AT_ONCE] += distance * distance;
                }
                const vector square = squares[0] + squares[1] + (squares[2] + squares[3]);
                for (int lane = 0; lane < LANES; lane++) {
                    of_thread[c + lane] += rows * (double)mean[lane];
                    of_thread[channels + c + lane] += square[lane] + rows * (double)mean[lane] * mean[lane];
                }
            }
        }
    }
}

/* outputs = ReLU(images * scale + shift + skip); skip may be NULL, without relu there is no ReLU. */
static void normalise(const float *images, const float *skip, float *outputs, const float *scale, const float *shift, long relu,
               long values, long channels, long threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < values; row++)
        for (long c = 0; c < channels; c += LANES) {
            const long at = row * channels + c;
            vector found = load(images + at) * load(scale + c) + load(shift + c);
            if (skip != NULL) found += load(skip + at);
            store(outputs + at, relu ? passed(found, found) : found);
        }
}

/* sums[t][0][c] = sum of thread t's grads that ReLU let through, sums[t][1][c] = of grads * (images - mean). outputs is
   NULL without ReLU. */
static void gradient_sums(const float *grads, const float *images, const float *outputs, const float *mean, double *sums,
                   long values, long channels, long threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long thread = 0; thread < threads; thread++) {
        double *of_thread = sums + thread * 2 * channels;
        const long end = (thread + 1) * values / threads;
        for (long begin = thread * values / threads; begin < end; begin += ROWS) {
            const long rows = least(ROWS, end - begin);
            for (long c = 0; c < channels; c += LANES) {
                vector plain[AT_ONCE] = {{0}}, weighted[AT_ONCE] = {{0}};
                const vector centre = load(mean + c);
                for (long row = 0; row < rows; row++) {
                    const long at = (begin + row) * channels + c;
                    vector grad = load(grads + at);
                    if (outputs != NULL) grad = passed(grad, load(outputs + at));
                    plain[row % AT_ONCE] += grad;
                    weighted[row % AT_ONCE] += grad * (load(images + at) - centre);
                }
                const vector sum = plain[0] + plain[1] + (plain[2] + plain[3]);
                const vector weighted_sum = weighted[0] + weighted[1] + (weighted[2] + weighted[3]);
                for (int lane = 0; lane < LANES; lane++) {
                    of_thread[c + lane] += sum[lane];
                    of_thread[channels + c + lane] += weighted_sum[lane];
                }
            }
        }
    }
}

/* of_images = a * grads + b * (images - mean) + c, of_skip = grads, with grads that ReLU let through. of_skip may be
   NULL, outputs is NULL without ReLU. */
static void gradients(const float *grads, const float *images, const float *outputs, const float *mean, const float *a,
               const float *b, const float *c, float *of_images, float *of_skip, long values, long channels,
               long threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < values; row++)
        for (long channel = 0; channel < channels; channel += LANES) {
            const long at = row * channels + channel;
            vector grad = load(grads + at);
            if (outputs != NULL) grad = passed(grad, load(outputs + at));
            const vector distance = load(images + at) - load(mean + channel);
            store(of_images + at, load(a + channel) * grad + (load(b + channel) * distance + load(c + channel)));
            if (of_skip != NULL) store(of_skip + at, grad);
        }
}

static double over_threads(const double *sums, long which, long channel, long channels, long threads) {
    double total = 0;
    for (long thread = 0; thread < threads; thread++) total += sums[(thread * 2 + which) * channels + channel];
    return total;
}

/* outputs = ReLU(weight * (images - mean) / sqrt(var + eps) + bias + skip); skip may be NULL.
   of_channels [4, channels]: mean, biased variance, and two rows to work in. inverse_std [channels]. */
void forward(const float *images, const float *skip, float *outputs, const float *weight, const float *bias,
             double *sums, float *of_channels, double *inverse_std, double eps, long relu, long values, long channels,
             long threads) {
    float *scale = of_channels + 2 * channels, *shift = of_channels + 3 * channels;
    statistics(images, sums, values, channels, threads);
    for (long c = 0; c < channels; c++) {
        const double mean = over_threads(sums, 0, c, channels, threads) / values;
        const double var = over_threads(sums, 1, c, channels, threads) / values - mean * mean;
        inverse_std[c] = 1 / sqrt(var + eps);
        of_channels[c] = mean;
        of_channels[channels + c] = var;
        scale[c] = weight[c] * inverse_std[c];
        shift[c] = bias[c] - mean * weight[c] * inverse_std[c];
    }
    normalise(images, skip, outputs, scale, shift, relu, values, channels, threads);
}

/* With y = weight * n + bias and n = (x - mean) / std: of weight sum(g * n), of bias sum(g), of x
   weight / std * (g - of_bias / values - n * of_weight / values).
   of_channels [5, channels]: gradients of weight and bias, and three rows to work in. */
void backward(const float *grads, const float *images, const float *outputs, const float *mean,
              const double *inverse_std, const float *weight, double *sums, float *of_channels, float *of_images,
              float *of_skip, long values, long channels, long threads) {
    float *a = of_channels + 2 * channels, *b = of_channels + 3 * channels, *c = of_channels + 4 * channels;
    gradient_sums(grads, images, outputs, mean, sums, values, channels, threads);
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
    gradients(grads, images, outputs, mean, a, b, c, of_images, of_skip, values, channels, threads);
}
