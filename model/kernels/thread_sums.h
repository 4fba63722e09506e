/* What threads have added up, each at the beginning of its own `bytes` of scratch, added to one another. */

#include <immintrin.h>

/* result [numbers]; their number is a multiple of 16; scratch is aligned to 64 bytes, as are the threads' parts. */
static void add_threads(const unsigned char *scratch, long bytes, long threads, float *result, long numbers) {
#pragma omp parallel for num_threads(threads)
    for (long at = 0; at < numbers; at += 16) {
        __m512 sum = _mm512_setzero_ps();
        for (long thread = 0; thread < threads; thread++)
            sum = _mm512_add_ps(sum, _mm512_load_ps((const float *)(scratch + thread * bytes) + at));
        _mm512_storeu_ps(result + at, sum);
    }
}
