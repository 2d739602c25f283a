/* hk_base.h: what every public header of hillock needs: export marks, version, status codes, types.
   SPDX-License-Identifier: MIT */
#ifndef HK_BASE_H
#define HK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_VERSION_MAJOR 0
#define HK_VERSION_MINOR 1
#define HK_VERSION_PATCH 0

#if defined(__GNUC__) || defined(__clang__)
#define HK_API __attribute__((visibility("default")))
#define HK_WARN_UNUSED __attribute__((warn_unused_result))
#else
#define HK_API
#define HK_WARN_UNUSED
#endif

#ifdef __cplusplus
#define HK_BEGIN_DECLS extern "C" {
#define HK_END_DECLS }
#else
#define HK_BEGIN_DECLS
#define HK_END_DECLS
#endif

HK_BEGIN_DECLS

/* Every error of the library. One row is the enum value, its name and its meaning. */
#define HK_STATUS_LIST(X)                                                                          \
    X(OK, 0, "no error")                                                                           \
    X(ERR_ARGUMENT, 1, "an argument is out of range or missing")                                   \
    X(ERR_SHAPE, 2, "shapes do not fit each other")                                                \
    X(ERR_DTYPE, 3, "element types do not fit each other or the operation")                        \
    X(ERR_DEVICE, 4, "the device is absent, or tensors live on different ones")                    \
    X(ERR_NAME, 5, "no activation, initialiser, optimizer or option has that name")                \
    X(ERR_MEMORY, 6, "out of memory")                                                              \
    X(ERR_STALE, 7, "a tensor was used after the step that owned it")                              \
    X(ERR_GRADIENT, 8, "no gradient can be computed here")                                         \
    X(ERR_NONFINITE, 9, "a value is not finite")                                                   \
    X(ERR_IO, 10, "a file cannot be read or written")                                              \
    X(ERR_FORMAT, 11, "a file is not what it claims to be")                                        \
    X(ERR_STATE, 12, "called at the wrong time")                                                   \
    X(ERR_CHECK, 13, "a gradient check failed")

typedef enum hk_status {
#define HK_STATUS_ENUM(name, value, meaning) HK_##name = value,
    HK_STATUS_LIST(HK_STATUS_ENUM)
#undef HK_STATUS_ENUM
} hk_status;

/* "HK_ERR_SHAPE" and its meaning; static strings, never NULL. */
HK_API const char *hk_status_name(hk_status status);
HK_API const char *hk_status_meaning(hk_status status);

/* "0.1.0", of the library that runs (the macros above are those it was compiled against). */
HK_API const char *hk_version(void);

/* Element types. Only HK_F32 and HK_F64 carry gradients. */
typedef enum hk_dtype {
    HK_F32 = 0, /* float */
    HK_F64 = 1, /* double: CPU, reference kernels; what gradient checks run in */
    HK_U8 = 2,  /* uint8_t: images and masks */
    HK_I32 = 3  /* int32_t: labels and indices */
} hk_dtype;

/* Bytes of one element; "f32", "f64", "u8", "i32". */
HK_API size_t hk_dtype_size(hk_dtype dtype);
HK_API const char *hk_dtype_name(hk_dtype dtype);

typedef enum hk_device { HK_CPU = 0, HK_CUDA = 1 } hk_device;

HK_END_DECLS
#endif
