/* feature_maps.c: pictures of first filters and feature maps.
   SPDX-License-Identifier: MIT */
#include "feature_maps.h"

#include "picture.h"

#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 840, /* of a picture, at most, in pixels */
    IMAGE_WIDTH = 90,
    ACROSS = 8,     /* filters in a line */
    IMAGES = 6,     /* test images */
    SEARCHED = 250, /* test images among which these are looked for */
    GAP = 10,       /* between filters, between rows, and around everything */
    MAP_GAP = 4,    /* between maps */
    PATH_MOST = 4096
};

static const char *const files[] = {"filters.png", "features.png"};

/* How many pixels a value may get so that n of them fit into so many; 1 if they do not. */
static int fitting(int pixels, int64_t n) {
    const int64_t scale = pixels / n;
    return scale < 1 ? 1 : (int)scale;
}

/* --- filters ---------------------------------------------------------------------------------- */

/* False, with errno, if the picture cannot be written. */
static bool save(picture *p, const char *folder, const char *file) {
    char path[PATH_MOST];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    const bool ok = picture_write(p, path);
    picture_close(p);
    return ok;
}

static bool open_picture(training *run, picture *p, int width, int height) {
    const bool ok = picture_open(p, width, height);
    if (!ok) hk_fail(run->ctx, HK_ERR_MEMORY, "pictures", "no memory for a picture");
    return ok;
}

/* The weight of the first layer, if that is a convolution: (out, in, h, w). */
static hk_tensor *first_filters(const training *run) {
    const hk_parameters p = hk_module_parameters(run->net);
    return p.count > 0 && hk_tensor_rank(p.items[0]) == 4 ? p.items[0] : NULL;
}

bool feature_maps_filters(training *run, const char *folder, char *text, size_t size) {
    hk_tensor *filters = first_filters(run);
    const float *value = hk_tensor_values(filters);
    if (!value) return false;
    const hk_shape shape = hk_tensor_shape(filters);
    const int n = (int)(shape.dim[0] * shape.dim[1]), across = n < ACROSS ? n : ACROSS;
    picture_cells cells = {.rows = shape.dim[2],
                           .columns = shape.dim[3],
                           .most = picture_most(hk_tensor_count(filters), value),
                           .colours = PICTURE_SIGNED};
    cells.scale = fitting(WIDTH - GAP - across * (GAP + 2 * PICTURE_FRAME), across * cells.columns);
    const int pitch_x = (int)cells.columns * cells.scale + 2 * PICTURE_FRAME + GAP,
              pitch_y = (int)cells.rows * cells.scale + 2 * PICTURE_FRAME + GAP;
    picture p;
    if (!open_picture(run, &p, GAP + across * pitch_x, GAP + (n + across - 1) / across * pitch_y))
        return false;
    for (int i = 0; i < n; i++) {
        cells.value = value + i * cells.rows * cells.columns;
        picture_paste(&p, GAP + i % across * pitch_x, GAP + i / across * pitch_y, &cells);
    }
    snprintf(text, size,
             "The %d filters, %d x %d, in the order of their channels: red is above 0, blue below. "
             "A filter answers to what looks like it.",
             n, (int)cells.rows, (int)cells.columns);
    return save(&p, folder, files[0]);
}

/* --- feature maps ----------------------------------------------------------------------------- */

/* Some test images and what the first layers make of them. */
typedef struct maps {
    int images, channels;
    int32_t label[IMAGES];
    hk_tensor *image, *map; /* (images, 1, h, w), (images, channels, h, w) */
    const float *image_value, *map_value;
    double most;
} maps;

/* The first image of each class among those of the batch, in the order of the classes. */
static hk_tensor *choose(training *run, const hk_batch *batch, maps *m) {
    const int32_t *label = hk_tensor_values(batch->y);
    int32_t chosen[IMAGES];
    for (int32_t k = 0; label && k < run->classes && m->images < IMAGES; k++)
        for (int32_t i = 0; i < batch->size; i++)
            if (label[i] == k) {
                m->label[m->images] = k;
                chosen[m->images++] = i;
                break;
            }
    return hk_gather_rows(batch->x, hk_constant(run->ctx, HK_I32, HK_SHAPE(m->images), chosen));
}

/* Behind the first activation. */
static hk_tensor *run_first_layers(hk_module *net, hk_tensor *x) {
    const int layers = hk_module_child_count(net);
    for (int i = 0; i < layers; i++) {
        hk_module *layer = hk_module_child_at(net, i);
        x = hk_forward(layer, x);
        if (strcmp(hk_module_kind(layer), "activation") == 0) break;
    }
    return x;
}

/* False after an error, which is the context's. */
static bool compute_maps(training *run, maps *m) {
    hk_loader *loader = hk_loader_create(run->test_data, &(hk_loader_config){.batch = SEARCHED});
    hk_batch batch;
    *m = (maps){.images = 0};
    const bool was_recording = hk_grad_enable(run->ctx, false);
    const bool was_training = hk_module_train(run->net, false);
    if (hk_loader_next(loader, &batch)) {
        m->image = choose(run, &batch, m);
        m->map = run_first_layers(run->net, m->image);
        m->image_value = hk_tensor_values(m->image);
        m->map_value = hk_tensor_values(m->map);
        m->channels = (int)hk_tensor_dim(m->map, 1);
    }
    hk_module_train(run->net, was_training);
    hk_grad_enable(run->ctx, was_recording);
    hk_loader_destroy(loader);
    return m->map_value && hk_tensor_rank(m->map) == 4;
}

/* Channel k of image i. */
static picture_cells cells_of(const hk_tensor *t, const float *value, int i, int k) {
    const hk_shape shape = hk_tensor_shape(t);
    return (picture_cells){.rows = shape.dim[2],
                           .columns = shape.dim[3],
                           .value = value + (i * shape.dim[1] + k) * shape.dim[2] * shape.dim[3]};
}

/* Where everything of an image's row lies: the image, and to its right its maps, in lines. */
typedef struct layout {
    int image_scale, map_scale;
    int lines, across; /* of maps */
    int maps_at;       /* x of the first map */
    int pitch_x, pitch_y, height;
} layout;

static layout plan(const maps *m) {
    const picture_cells image = cells_of(m->image, m->image_value, 0, 0),
                        map = cells_of(m->map, m->map_value, 0, 0);
    layout l = {.image_scale = fitting(IMAGE_WIDTH, image.columns)};
    l.maps_at = 2 * GAP + (int)image.columns * l.image_scale + 2 * PICTURE_FRAME;
    const int room = WIDTH - l.maps_at - GAP;
    do { /* as few lines as give each value two pixels */
        l.lines++;
        l.across = (m->channels + l.lines - 1) / l.lines;
        l.map_scale =
            fitting(room - l.across * (MAP_GAP + 2 * PICTURE_FRAME), l.across * map.columns);
    } while (l.map_scale < 2 && l.across > 4);
    l.pitch_x = (int)map.columns * l.map_scale + 2 * PICTURE_FRAME + MAP_GAP;
    l.pitch_y = (int)map.rows * l.map_scale + 2 * PICTURE_FRAME + MAP_GAP;
    const int image_height = (int)image.rows * l.image_scale + 2 * PICTURE_FRAME;
    l.height = l.lines * l.pitch_y - MAP_GAP;
    if (l.height < image_height) l.height = image_height;
    return l;
}

static void paste_row(picture *p, const maps *m, const layout *l, int i) {
    const int y = GAP + i * (l->height + GAP);
    picture_cells image = cells_of(m->image, m->image_value, i, 0);
    image.scale = l->image_scale;
    image.most = 1;
    picture_paste(p, GAP, y, &image);
    for (int k = 0; k < m->channels; k++) {
        picture_cells map = cells_of(m->map, m->map_value, i, k);
        map.scale = l->map_scale;
        map.most = m->most;
        map.colours = PICTURE_SIGNED;
        picture_paste(p, l->maps_at + k % l->across * l->pitch_x, y + k / l->across * l->pitch_y,
                      &map);
    }
}

static void say_maps(const training *run, const maps *m, char *text, size_t size) {
    char name[ACTIVATION_NAME_MOST] = "the activation";
    if (run->activations) train_activation_name(run->activations, 0, name);
    size_t used = (size_t)snprintf(text, size, "A row for each of some test images,");
    for (int i = 0; i < m->images && used < size; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s %d", i > 0 ? "," : "", (int)m->label[i]);
    if (used < size)
        snprintf(text + used, size - used,
                 ": the image, then the %d maps behind %.40s. Red is above 0, blue below.",
                 m->channels, name);
}

bool feature_maps_features(training *run, const char *folder, char *text, size_t size) {
    maps m;
    if (!first_filters(run) || !compute_maps(run, &m)) return false;
    const layout l = plan(&m);
    m.most = picture_most(hk_tensor_count(m.map), m.map_value);
    picture p;
    if (!open_picture(run, &p, l.maps_at + l.across * l.pitch_x - MAP_GAP + GAP,
                      GAP + m.images * (l.height + GAP)))
        return false;
    for (int i = 0; i < m.images; i++) paste_row(&p, &m, &l, i);
    say_maps(run, &m, text, size);
    return save(&p, folder, files[1]);
}
