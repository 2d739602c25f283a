/* picture.c: arrays of numbers as coloured cells; PNG files.
   SPDX-License-Identifier: MIT */
#include "picture.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_STB_IMAGE_WRITE
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>
#endif

/* --- drawing ---------------------------------------------------------------------------------- */

typedef struct colour {
    double r, g, b;
} colour;

bool picture_open(picture *p, int width, int height) {
    const size_t bytes = (size_t)width * (size_t)height * 3;
    *p = (picture){.width = width, .height = height, .rgb = malloc(bytes)};
    if (p->rgb) memset(p->rgb, 255, bytes);
    return p->rgb;
}

void picture_close(picture *p) {
    free(p->rgb);
    p->rgb = NULL;
}

static void fill(picture *p, int x, int y, int width, int height, colour c) {
    const uint8_t rgb[3] = {(uint8_t)lround(c.r), (uint8_t)lround(c.g), (uint8_t)lround(c.b)};
    for (int i = y < 0 ? 0 : y; i < y + height && i < p->height; i++)
        for (int k = x < 0 ? 0 : x; k < x + width && k < p->width; k++)
            memcpy(p->rgb + 3 * ((size_t)i * (size_t)p->width + (size_t)k), rgb, sizeof rgb);
}

/* The colour at `at`, from 0 to 1, on the way from white over `middle` to `end`. */
static colour between(double at, colour middle, colour end) {
    const colour white = {255, 255, 255}, from = at < 0.5 ? white : middle,
                 to = at < 0.5 ? middle : end;
    const double t = at < 0.5 ? 2 * at : 2 * at - 1;
    return (colour){from.r + t * (to.r - from.r), from.g + t * (to.g - from.g),
                    from.b + t * (to.b - from.b)};
}

static colour colour_of(double value, const picture_cells *cells) {
    if (!isfinite(value)) return (colour){160, 160, 160};
    const double part = value / cells->most, at = fmin(fabs(part), 1);
    if (cells->colours == PICTURE_INK)
        return between(part > 0 ? at : 0, (colour){128, 128, 128}, (colour){0, 0, 0});
    if (part > 0) return between(at, (colour){226, 106, 66}, (colour){115, 8, 30});
    return between(at, (colour){84, 146, 206}, (colour){8, 38, 104});
}

void picture_paste(picture *p, int x, int y, const picture_cells *cells) {
    const int scale = cells->scale, rows = (int)cells->rows, columns = (int)cells->columns;
    fill(p, x, y, columns * scale + 2 * PICTURE_FRAME, rows * scale + 2 * PICTURE_FRAME,
         (colour){150, 150, 150});
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < columns; k++)
            fill(p, x + PICTURE_FRAME + k * scale, y + PICTURE_FRAME + i * scale, scale, scale,
                 colour_of((double)cells->value[(int64_t)i * columns + k], cells));
}

double picture_most(int64_t n, const float *value) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(value[i])) most = fmax(most, fabs((double)value[i]));
    return most > 0 ? most : 1;
}

/* --- files ------------------------------------------------------------------------------------ */

bool picture_possible(void) {
#ifdef HAVE_STB_IMAGE_WRITE
    return true;
#else
    return false;
#endif
}

/* The picture as the bytes of a PNG file, which the caller frees; NULL with errno. */
static uint8_t *encode(const picture *p, int *size) {
#ifdef HAVE_STB_IMAGE_WRITE
    uint8_t *png = stbi_write_png_to_mem(p->rgb, 3 * p->width, p->width, p->height, 3, size);
    if (!png) errno = ENOMEM;
    return png;
#else
    (void)p;
    (void)size;
    errno = ENOTSUP;
    return NULL;
#endif
}

bool picture_write(const picture *p, const char *path) {
    int size = 0;
    uint8_t *png = encode(p, &size);
    FILE *file = png ? fopen(path, "wb") : NULL;
    bool ok = file && fwrite(png, 1, (size_t)size, file) == (size_t)size;
    if (file && fclose(file) != 0) ok = false;
    free(png);
    return ok;
}
