/* map.cuh: kernels that compute element by element, for any formula (the GPU's side of core/map.h).
   SPDX-License-Identifier: MIT

   A formula is a struct F, handed to the kernel by value with the numbers it needs:

       typedef ... in, out;             types of an operand, of the result
       enum { operands = 2, mask = 0 }; how many; which of them is a u8 mask instead, 0: none
       void read(const double *param);  takes what hk__map was handed, on the host
       out at(const in *x, uint8_t m);  the result of one element; x: the operands but the mask, in order
       in number(int k);                if `numbers`: what stands for operand k where its data is NULL

   hk__map_run<F> is the hk__map_launch of F. It has three kernels to choose from: flat, where all lies side by side;
   rows, where the inner axis does, or an operand does not change along it; and strided, for everything else. All have
   several accesses under way in each thread, and the first two make them of 16 bytes. A load whose value F does not
   use is removed by the compiler. */
#ifndef HK_MAP_CUH
#define HK_MAP_CUH

#include <string.h>

#include "launch.cuh"
#include "map.h"

enum { HK__MAP_THREADS = 256 };

/* What a formula has if it says nothing else. */
struct hk__formula {
    enum { mask = 0, numbers = 0 };
    void read(const double *) {}
};

/* The largest type decides how many elements are a vector of 16 bytes. */
template <class F> struct hk__map_of {
    static constexpr int size = sizeof(typename F::in) > sizeof(typename F::out)
                                    ? (int)sizeof(typename F::in)
                                    : (int)sizeof(typename F::out);
    static constexpr int lanes = 16 / size;
    static constexpr bool masked = F::mask != 0;
    static constexpr int reals = F::operands - masked; /* operands but the mask */
    /* Vectors of each operand that a thread has under way. */
    static constexpr int deep = F::operands < 2 ? 4 : F::operands < 5 ? 2 : 1;
    /* Where operand k, not counting the mask, stands among all, the output being number 0. */
    static __host__ __device__ constexpr int place(int k) {
        return k + 1 + (masked && k + 1 >= F::mask);
    }
};

/* --- flat: everything side by side ------------------------------------------------------------------------------ */

template <int n> struct hk__flat_job {
    int64_t count;
    void *data[n + 1];
    int64_t accumulate;
};

template <class F>
static __device__ inline void hk__flat_one(const F &f, const hk__flat_job<F::operands> &job,
                                           int64_t i) {
    typedef hk__map_of<F> of;
    typename F::in x[of::reals + 1];
    for (int k = 0; k < of::reals; k++) x[k] = ((const typename F::in *)job.data[of::place(k)])[i];
    const uint8_t m = of::masked ? ((const uint8_t *)job.data[F::mask])[i] : 0;
    typename F::out *out = (typename F::out *)job.data[0] + i;
    const typename F::out y = f.at(x, m);
    *out = job.accumulate ? (typename F::out)(*out + y) : y;
}

template <class F>
static __global__ void __launch_bounds__(HK__MAP_THREADS)
    hk__map_flat(F f, hk__flat_job<F::operands> job) {
    typedef hk__map_of<F> of;
    constexpr int lanes = of::lanes, deep = of::deep;
    typedef hk__vector<typename F::in, lanes> vector;
    const int64_t vectors = job.count / lanes,
                  first = (int64_t)blockIdx.x * (HK__MAP_THREADS * deep) + threadIdx.x;
    vector x[deep][of::reals + 1];
    hk__vector<uint8_t, lanes> m[deep];
#pragma unroll
    for (int u = 0; u < deep; u++) {
        const int64_t i = first + u * HK__MAP_THREADS;
        if (i >= vectors) continue;
#pragma unroll
        for (int k = 0; k < of::reals; k++) x[u][k] = ((const vector *)job.data[of::place(k)])[i];
        if (of::masked) m[u] = ((const hk__vector<uint8_t, lanes> *)job.data[F::mask])[i];
    }
#pragma unroll
    for (int u = 0; u < deep; u++) {
        const int64_t i = first + u * HK__MAP_THREADS;
        if (i >= vectors) continue;
        hk__vector<typename F::out, lanes> *out =
                                               (hk__vector<typename F::out, lanes> *)job.data[0] +
                                               i,
                                           y;
#pragma unroll
        for (int j = 0; j < lanes; j++) {
            typename F::in one[of::reals + 1];
#pragma unroll
            for (int k = 0; k < of::reals; k++) one[k] = x[u][k].v[j];
            y.v[j] = f.at(one, of::masked ? m[u].v[j] : 0);
        }
        if (job.accumulate) {
            const hk__vector<typename F::out, lanes> old = *out;
#pragma unroll
            for (int j = 0; j < lanes; j++) y.v[j] = (typename F::out)(old.v[j] + y.v[j]);
        }
        *out = y;
    }
    const int64_t rest = vectors * lanes + threadIdx.x;
    if (blockIdx.x == 0 && rest < job.count) hk__flat_one(f, job, rest);
}

/* --- rows and strided ---------------------------------------------------------------------------------------------- */

/* i / dim by a product: exact for i < 2^31. */
struct hk__divider {
    uint32_t dim, factor, shift, unused;
};
static inline hk__divider hk__divider_of(int64_t dim) {
    hk__divider d = {(uint32_t)dim, 0, 0, 0};
    while (((uint64_t)1 << d.shift) < (uint64_t)dim) d.shift++;
    d.factor = (uint32_t)(((((uint64_t)1 << d.shift) - (uint64_t)dim) << 32) / (uint64_t)dim + 1);
    return d;
}
static __device__ inline uint32_t hk__divide(uint32_t i, const hk__divider &d) {
    return (__umulhi(i, d.factor) + i) >> d.shift;
}

template <int n> struct hk__strided_job {
    uint32_t count; /* of elements, of rows' vectors: below 2^31 */
    uint32_t
        wide; /* bit k: operand k lies side by side along the inner axis; else it does not change there */
    int32_t rank, accumulate;
    hk__divider dim[HK_MAX_RANK];
    int64_t stride[n + 1][HK_MAX_RANK]; /* in elements, for rows along the inner axis in vectors */
    void *data[n + 1];
};

/* Where element or vector i of each operand is. */
template <int n>
static __device__ inline void hk__offsets(const hk__strided_job<n> &job, uint32_t i,
                                          int64_t *offset) {
#pragma unroll
    for (int k = 0; k <= n; k++) offset[k] = 0;
#pragma unroll
    for (int a = HK_MAX_RANK - 1; a >= 0; a--) {
        if (a >= job.rank) continue;
        const uint32_t rest = a == 0 ? 0 : hk__divide(i, job.dim[a]),
                       at = i - rest * job.dim[a].dim;
        i = rest;
#pragma unroll
        for (int k = 0; k <= n; k++) offset[k] += at * job.stride[k][a];
    }
}

/* `lanes` elements from p on, or the one at p for all of them. */
template <class T, int lanes>
static __device__ inline hk__vector<T, lanes> hk__row_load(const T *p, bool wide) {
    if (wide) return *(const hk__vector<T, lanes> *)p;
    hk__vector<T, lanes> x;
    const T one = *p;
#pragma unroll
    for (int j = 0; j < lanes; j++) x.v[j] = one;
    return x;
}

/* Operand k at an offset. One that is missing (data NULL) is number k of F, if F has any. */
template <class F, int lanes>
static __device__ inline hk__vector<typename F::in, lanes>
hk__operand(const F &f, int k, const void *data, int64_t offset, bool wide) {
    typedef typename F::in in;
    if constexpr (F::numbers != 0) {
        if (!data) {
            hk__vector<in, lanes> x;
#pragma unroll
            for (int j = 0; j < lanes; j++) x.v[j] = f.number(k);
            return x;
        }
    }
    return hk__row_load<in, lanes>((const in *)data + offset, wide);
}

template <class F, int lanes, int deep>
static __global__ void __launch_bounds__(HK__MAP_THREADS)
    hk__map_strided(F f, hk__strided_job<F::operands> job) {
    typedef hk__map_of<F> of;
    typedef hk__vector<typename F::out, lanes> result;
    const uint32_t first = blockIdx.x * (HK__MAP_THREADS * deep) + threadIdx.x;
    hk__vector<typename F::in, lanes> x[deep][of::reals + 1];
    hk__vector<uint8_t, lanes> m[deep];
    int64_t to[deep];
#pragma unroll
    for (int u = 0; u < deep; u++) {
        const uint32_t i = first + u * HK__MAP_THREADS;
        if (i >= job.count) continue;
        int64_t offset[F::operands + 1];
        hk__offsets(job, i, offset);
        to[u] = offset[0];
#pragma unroll
        for (int k = 0; k < of::reals; k++) {
            const int p = of::place(k);
            x[u][k] = hk__operand<F, lanes>(f, k, job.data[p], offset[p],
                                            lanes == 1 || (job.wide >> p & 1));
        }
        if (of::masked)
            m[u] =
                hk__row_load<uint8_t, lanes>((const uint8_t *)job.data[F::mask] + offset[F::mask],
                                             lanes == 1 || (job.wide >> F::mask & 1));
    }
#pragma unroll
    for (int u = 0; u < deep; u++) {
        if (first + u * HK__MAP_THREADS >= job.count) continue;
        result *out = (result *)((typename F::out *)job.data[0] + to[u]), y;
#pragma unroll
        for (int j = 0; j < lanes; j++) {
            typename F::in one[of::reals + 1];
#pragma unroll
            for (int k = 0; k < of::reals; k++) one[k] = x[u][k].v[j];
            y.v[j] = f.at(one, of::masked ? m[u].v[j] : 0);
        }
        if (job.accumulate) {
            const result old = *out;
#pragma unroll
            for (int j = 0; j < lanes; j++) y.v[j] = (typename F::out)(old.v[j] + y.v[j]);
        }
        *out = y;
    }
}

/* --- which of them --------------------------------------------------------------------------------------------------- */

template <class F> static size_t hk__map_size(int k) {
    return k == 0                                  ? sizeof(typename F::out)
           : hk__map_of<F>::masked && k == F::mask ? 1
                                                   : sizeof(typename F::in);
}

template <class F> static bool hk__map_aligned(const hk__map_job *job, int k) {
    return (uintptr_t)job->data[k] % (hk__map_size<F>(k) * hk__map_of<F>::lanes) == 0;
}

template <class F> static bool hk__map_is_flat(const hk__map_job *job) {
    for (int k = 0; k <= F::operands; k++)
        if (!job->data[k] || job->stride[k][0] != 1 || !hk__map_aligned<F>(job, k)) return false;
    return job->rank == 1;
}

/* Whether vectors lie along the inner axis; bit k of *wide: those of operand k, the others do not change along it. */
template <class F> static bool hk__map_has_rows(const hk__map_job *job, uint32_t *wide) {
    const int inner = job->rank - 1, lanes = hk__map_of<F>::lanes;
    *wide = 0;
    if (job->dim[inner] % lanes != 0 || job->stride[0][inner] != 1) return false;
    for (int k = 0; k <= F::operands; k++) {
        if (!job->data[k] || job->stride[k][inner] == 0) continue;
        if (job->stride[k][inner] != 1 || !hk__map_aligned<F>(job, k)) return false;
        for (int a = 0; a < inner; a++)
            if (job->stride[k][a] % lanes != 0) return false;
        *wide |= (uint32_t)1 << k;
    }
    return true;
}

template <class F, int lanes, int deep>
static void hk__map_run_strided(hk_context *ctx, const F &f, const hk__map_job *job,
                                uint32_t wide) {
    hk__strided_job<F::operands> j;
    memset(&j, 0, sizeof j);
    j.count = (uint32_t)(job->count / lanes);
    j.wide = wide;
    j.rank = job->rank;
    j.accumulate = job->accumulate;
    for (int a = 0; a < job->rank; a++)
        j.dim[a] = hk__divider_of(job->dim[a] / (a == job->rank - 1 ? lanes : 1));
    for (int k = 0; k <= F::operands; k++) {
        for (int a = 0; a < job->rank; a++)
            j.stride[k][a] = job->stride[k][a] * (a == job->rank - 1 ? lanes : 1);
        j.data[k] = job->data[k];
    }
    void (*const map_strided)(F, hk__strided_job<F::operands>) = hk__map_strided<F, lanes, deep>;
    HK_LAUNCH(ctx, hk__grid(j.count, HK__MAP_THREADS, deep), HK__MAP_THREADS, 0, map_strided, f, j);
}

template <class F> static void hk__map_any(hk_context *ctx, const F &f, const hk__map_job *job);

/* In two halves of its longest axis, which is long where the whole is too long for 32 bits. */
template <class F> static void hk__map_halves(hk_context *ctx, const F &f, const hk__map_job *job) {
    int axis = 0;
    for (int a = 1; a < job->rank; a++)
        if (job->dim[a] > job->dim[axis]) axis = a;
    const int64_t half = job->dim[axis] / 2 / 16 * 16, others = job->count / job->dim[axis];
    hk__map_job part = *job;
    part.dim[axis] = half;
    part.count = half * others;
    hk__map_any(ctx, f, &part);
    for (int k = 0; k <= F::operands; k++)
        if (part.data[k])
            part.data[k] =
                (char *)part.data[k] + half * job->stride[k][axis] * (int64_t)hk__map_size<F>(k);
    part.dim[axis] = job->dim[axis] - half;
    part.count = part.dim[axis] * others;
    hk__map_any(ctx, f, &part);
}

template <class F> static void hk__map_any(hk_context *ctx, const F &f, const hk__map_job *job) {
    typedef hk__map_of<F> of;
    /* Doubles go the general way alone: a warp reads 256 bytes at once there too, and each kernel costs time to compile. */
    constexpr bool fast = of::lanes >= 4;
    uint32_t wide = 0;
    if constexpr (fast && F::numbers == 0) {
        if (hk__map_is_flat<F>(job)) {
            hk__flat_job<F::operands> j;
            memset(&j, 0, sizeof j);
            j.count = job->count;
            j.accumulate = job->accumulate;
            memcpy(j.data, job->data, sizeof j.data);
            void (*const map_flat)(F, hk__flat_job<F::operands>) = hk__map_flat<F>;
            HK_LAUNCH(ctx, hk__grid(job->count, HK__MAP_THREADS, of::lanes * of::deep),
                      HK__MAP_THREADS, 0, map_flat, f, j);
            return;
        }
    }
    if (job->count >= (int64_t)1 << 31) {
        hk__map_halves(ctx, f, job);
        return;
    }
    if constexpr (fast) {
        if (hk__map_has_rows<F>(job, &wide)) {
            hk__map_run_strided<F, of::lanes, of::deep >= 2 ? 2 : 1>(ctx, f, job, wide);
            return;
        }
    }
    hk__map_run_strided<F, 1, of::deep>(ctx, f, job, wide);
}

template <class F> static void hk__map_run(hk_context *ctx, const hk__map_job *job) {
    F f;
    memset((void *)&f, 0, sizeof f);
    f.read(job->param);
    hk__map_job one = *job;
    if (one.rank == 0) { /* a single element */
        one.rank = 1;
        one.dim[0] = 1;
        for (int k = 0; k < one.n; k++) one.stride[k][0] = 1;
    }
    hk__map_any(ctx, f, &one);
}

/* As an entry of the tables that hk__map looks into. */
#define HK_MAP_ENTRY(...) (hk__map_fn *)(void (*)(void))hk__map_run<__VA_ARGS__>

#endif
