/* The smaller of two whole numbers. */

#ifndef LEAST_H
#define LEAST_H

static inline long least(long a, long b) { return a < b ? a : b; }

#endif
