/* Colour jitter of float images as three planes each, in place: see colour.py.

   pixels [images, 3, count] in 0 ... 255, which they stay in
   steps [images, 3, 3]: a step (f, c, s) takes x to x * f + c * (mean grey of the image) + s * (grey of the pixel); one
   of them at most has a c. Sums are added up in float over at most AT_ONCE values, and those in double. */

enum { STEPS = 3, AT_ONCE = 1024 }; /* pixels that stay in the nearest cache */

static const float grey[3] = {0.2989f, 0.587f, 0.114f}; /* ITU-R 601-2, as torchvision rounds it */

static float within(float value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

static void step(float *restrict red, float *restrict green, float *restrict blue, float factor, float same, float own,
                 long count) {
    for (long at = 0; at < count; at++) {
        const float added = same + own * (grey[0] * red[at] + grey[1] * green[at] + grey[2] * blue[at]);
        red[at] = within(red[at] * factor + added);
        green[at] = within(green[at] * factor + added);
        blue[at] = within(blue[at] * factor + added);
    }
}

static float sum_of(const float *values, long count) {
    float sums[16] = {0}, total = 0;
    long at = 0;
    for (; at + 16 <= count; at += 16)
        for (int lane = 0; lane < 16; lane++) sums[lane] += values[at + lane];
    for (; at < count; at++) total += values[at];
    for (int lane = 0; lane < 16; lane++) total += sums[lane];
    return total;
}

/* Steps begin ... end, the first of which has the mean grey `mean`; returns the mean grey of what comes of them. */
static double take(float *planes, const float *steps, int begin, int end, double mean, long count) {
    double total = 0;
    for (long from = 0; from < count; from += AT_ONCE) {
        const long pixels = from + AT_ONCE < count ? AT_ONCE : count - from;
        float *red = planes + from, *green = red + count, *blue = green + count;
        for (int number = begin; number < end; number++) {
            const float *now = steps + 3 * number;
            step(red, green, blue, now[0], number == begin ? now[1] * mean : 0, now[2], pixels);
        }
        if (end < STEPS)
            total += grey[0] * sum_of(red, pixels) + grey[1] * sum_of(green, pixels) + grey[2] * sum_of(blue, pixels);
    }
    return total / count;
}

void jitter(float *pixels, const float *steps, long images, long count) {
    for (; images > 0; images--, pixels += 3 * count, steps += 3 * STEPS) {
        int contrast = 0; /* the step that needs the mean of what the others before it have made, if any */
        while (contrast < STEPS && steps[3 * contrast + 1] == 0) contrast++;
        const double mean = take(pixels, steps, 0, contrast, 0, count);
        take(pixels, steps, contrast, STEPS, mean, count);
    }
}
