/* singular_values.c: singular values of a matrix, by one-sided Jacobi.
   SPDX-License-Identifier: MIT

   Rotations of two vectors at a time make all vectors of a matrix orthogonal to each other; their lengths then are the
   singular values, small ones as exact as large ones (Hestenes 1958). Before it, a QR decomposition with pivoting (Businger
   and Golub 1965) leaves a triangle whose rows are nearly orthogonal, largest first, so that few rounds are left to do
   (Drmač and Veselić 2008). */
#include "hk_jacobian.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8, ROUNDS = 60 };

/* n vectors of m >= n elements each, one behind the other. */
typedef struct vectors {
    int64_t n, m;
    double *at;
    double *norm; /* squares of their lengths */
} vectors;

static double *vector(const vectors *v, int64_t i) { return v->at + i * v->m; }

/* --- loops over elements ------------------------------------------------------------------------------------- */

static double dot(int64_t n, const double *restrict a, const double *restrict b) {
    double lane[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += a[i + k] * b[i + k];
    for (; i < n; i++) sum += a[i] * b[i];
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

/* y += c·x */
static void add(int64_t n, double c, const double *restrict x, double *restrict y) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) y[i + k] += c * x[i + k];
    for (; i < n; i++) y[i] += c * x[i];
}

/* (x, y) turned by the angle with that cosine and sine. */
static void turn(int64_t n, double cosine, double sine, double *restrict x, double *restrict y) {
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i], b = y[i];
        x[i] = cosine * a - sine * b;
        y[i] = sine * a + cosine * b;
    }
}

static void swap(int64_t n, double *restrict x, double *restrict y) {
    for (int64_t i = 0; i < n; i++) {
        const double a = x[i];
        x[i] = y[i];
        y[i] = a;
    }
}

/* max |x[i]|; NaN if there is one. */
static double largest_of(int64_t n, const double *x) {
    double most = 0;
    for (int64_t i = 0; i < n && !isnan(most); i++)
        if (!(fabs(x[i]) <= most)) most = fabs(x[i]);
    return most;
}

/* Neither overflows nor vanishes where squares would. */
static double length(int64_t n, const double *x) {
    const double most = largest_of(n, x);
    double sum = 0;
    if (!(most > 0)) return 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] / most) * (x[i] / most);
    return most * sqrt(sum);
}

/* --- the triangle -------------------------------------------------------------------------------------------- */

/* Puts the longest of the vectors i, i + 1, ... to place i. */
static void bring_longest(const vectors *v, int64_t i) {
    int64_t best = i;
    for (int64_t j = i + 1; j < v->n; j++)
        if (v->norm[j] > v->norm[best]) best = j;
    if (best == i) return;
    swap(v->m, vector(v, i), vector(v, best));
    swap(1, &v->norm[i], &v->norm[best]);
}

/* Householder's reflection that leaves vector i, from element i on, with its first element alone, for all behind it. */
static void reflect(const vectors *v, int64_t i) {
    const int64_t m = v->m - i;
    double *h = vector(v, i) + i;
    const double size = length(m, h);
    if (!(size > 0)) return;
    const double end = h[0] > 0 ? -size : size;
    h[0] -= end;
    /* |h|² = -2·end·h[0]; scaled, so that small vectors' squares do not vanish. */
    const double first = h[0];
    for (int64_t k = 0; k < m; k++) h[k] /= first;
    const double tau = -first / end;
    for (int64_t j = i + 1; j < v->n; j++) {
        double *x = vector(v, j) + i;
        add(m, -tau * dot(m, h, x), h, x);
        v->norm[j] = dot(m - 1, x + 1, x + 1);
    }
    h[0] = end;
}

/* A becomes R of A·P = Q·R, its rows the first n elements of the vectors. */
static void triangle(const vectors *v) {
    for (int64_t i = 0; i < v->n; i++) v->norm[i] = dot(v->m, vector(v, i), vector(v, i));
    for (int64_t i = 0; i < v->n; i++) {
        bring_longest(v, i);
        reflect(v, i);
    }
    for (int64_t i = 0; i < v->n; i++)
        for (int64_t j = i + 1; j < v->n; j++) {
            vector(v, i)[j] = vector(v, j)[i];
            vector(v, j)[i] = 0;
        }
}

/* --- rotations ----------------------------------------------------------------------------------------------- */

/* Makes vectors i and j orthogonal; false if they are. */
static bool rotate(const vectors *v, int64_t i, int64_t j) {
    double *x = vector(v, i), *y = vector(v, j);
    const double product = dot(v->n, x, y), a = v->norm[i], b = v->norm[j];
    if (!(fabs(product) > DBL_EPSILON * sqrt((double)v->n) * sqrt(a) * sqrt(b))) return false;
    const double zeta = (b - a) / (2 * product);
    const double tangent = (zeta < 0 ? -1 : 1) / (fabs(zeta) + hypot(1, zeta));
    const double cosine = 1 / sqrt(1 + tangent * tangent);
    turn(v->n, cosine, cosine * tangent, x, y);
    v->norm[i] = a - tangent * product;
    v->norm[j] = b + tangent * product;
    return true;
}

static void orthogonalise(const vectors *v) {
    bool turned = true;
    for (int round = 0; turned && round < ROUNDS; round++) {
        turned = false;
        for (int64_t i = 0; i < v->n; i++) v->norm[i] = dot(v->n, vector(v, i), vector(v, i));
        for (int64_t i = 0; i + 1 < v->n; i++) {
            bring_longest(v, i);
            for (int64_t j = i + 1; j < v->n; j++) turned |= rotate(v, i, j);
        }
    }
}

/* --- the whole ----------------------------------------------------------------------------------------------- */

static int falling(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

hk_status hk_singular_values(int64_t rows, int64_t cols, double *a, double *s) {
    if (rows < 1 || cols < 1 || rows > INT64_MAX / 8 / cols || !a || !s) return HK_ERR_ARGUMENT;
    const double most = largest_of(rows * cols, a);
    if (!isfinite(most)) return HK_ERR_ARGUMENT;
    const bool tall = rows > cols;
    vectors v = {.n = tall ? cols : rows, .m = tall ? rows : cols, .norm = s};
    v.at = tall ? malloc(sizeof *v.at * (size_t)(rows * cols)) : a;
    if (!v.at) return HK_ERR_MEMORY;
    /* A power of two, so that scaling costs no digits. */
    int exponent;
    (void)frexp(most, &exponent);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            v.at[tall ? j * rows + i : i * cols + j] = ldexp(a[i * cols + j], -exponent);
    triangle(&v);
    orthogonalise(&v);
    for (int64_t i = 0; i < v.n; i++) s[i] = ldexp(length(v.n, vector(&v, i)), exponent);
    qsort(s, (size_t)v.n, sizeof *s, falling);
    if (tall) free(v.at);
    return HK_OK;
}
