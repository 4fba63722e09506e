/* Images as decoders leave them, the three bytes of a pixel side by side, as three planes of floats each.

   pixels [images, count, 3], planes [images, 3, count] */
void to_planes(const unsigned char *restrict pixels, float *restrict planes, long images, long count) {
    for (; images > 0; images--, pixels += 3 * count, planes += 3 * count)
        for (long at = 0; at < count; at++) {
            planes[at] = pixels[3 * at];
            planes[count + at] = pixels[3 * at + 1];
            planes[2 * count + at] = pixels[3 * at + 2];
        }
}
