/* base.c: names of status codes and element types.
   SPDX-License-Identifier: MIT */
#include "hk_base.h"

#define HK_TEXT2(x) #x
#define HK_TEXT(x) HK_TEXT2(x)

const char *hk_version(void) {
    return HK_TEXT(HK_VERSION_MAJOR) "." HK_TEXT(HK_VERSION_MINOR) "." HK_TEXT(HK_VERSION_PATCH);
}

const char *hk_status_name(hk_status status) {
    switch (status) {
#define HK_NAME(name, value, meaning)                                                              \
    case HK_##name: return "HK_" #name;
        HK_STATUS_LIST(HK_NAME)
#undef HK_NAME
    }
    return "unknown status";
}

const char *hk_status_meaning(hk_status status) {
    switch (status) {
#define HK_MEANING(name, value, meaning)                                                           \
    case HK_##name: return meaning;
        HK_STATUS_LIST(HK_MEANING)
#undef HK_MEANING
    }
    return "unknown status";
}

static const struct {
    size_t size;
    const char *name;
} dtypes[] = {
    [HK_F32] = {4, "f32"}, [HK_F64] = {8, "f64"}, [HK_U8] = {1, "u8"}, [HK_I32] = {4, "i32"}};

static bool known(hk_dtype dtype) { return (unsigned)dtype < sizeof dtypes / sizeof *dtypes; }

size_t hk_dtype_size(hk_dtype dtype) { return known(dtype) ? dtypes[dtype].size : 0; }

const char *hk_dtype_name(hk_dtype dtype) { return known(dtype) ? dtypes[dtype].name : "?"; }
