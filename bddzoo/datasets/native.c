/* The loops over pixels and runs that NumPy has no fast way for.
 *
 * Compiled when the package is built, where there is a C compiler (hatch_build.py), and called through ctypes
 * by bddzoo/datasets/native.py; every function has a counterpart in Python with the same results, and
 * none writes beyond the sizes it is given. Only the last lines are Python's: they make the library an
 * extension module of the stable ABI, so that one file serves all versions of Python.
 */
#define Py_LIMITED_API 0x030A0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Add four bytes to four bytes, each modulo 256. */
static uint32_t add4(uint32_t a, uint32_t b)
{
    return ((a & 0x7f7f7f7fu) + (b & 0x7f7f7f7fu)) ^ ((a ^ b) & 0x80808080u);
}

static int paeth(int a, int b, int c)
{
    int pa = abs(b - c), pb = abs(a - c), pc = abs(a + b - 2 * c);
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/* Rows of filter types 1 (`up` is NULL) and 4 for four bytes a pixel, a pixel at a time. */
static void row4(const uint8_t *in, const uint8_t *up, uint8_t *row, int64_t width)
{
    uint32_t left = 0, corner = 0, above = 0, pixel;
    for (int64_t j = 0; j + 4 <= width; j += 4) {
        uint32_t guess = left;
        if (up) {
            memcpy(&above, up + j, 4);
            /* Label maps are flat: most pixels take one of the first two ways. */
            if (above != corner) {
                if (left == corner) {
                    guess = above;
                } else {
                    guess = 0;
                    for (int k = 0; k < 32; k += 8)
                        guess |= (uint32_t)paeth(left >> k & 255, above >> k & 255, corner >> k & 255) << k;
                }
            }
            corner = above;
        }
        memcpy(&pixel, in + j, 4);
        left = add4(pixel, guess);
        memcpy(row + j, &left, 4);
    }
}

/* Undo PNG's row filters (PNG 1.2, section 6). `raw` has rows of 1 + width bytes, the first being the
 * filter type; `out` rows of width bytes, `step` bytes a pixel. Returns 0, or 1 for a filter type that
 * does not exist. */
int bz_unfilter(const uint8_t *raw, uint8_t *out, int64_t rows, int64_t width, int64_t step)
{
    for (int64_t i = 0; i < rows; i++) {
        const uint8_t *in = raw + i * (width + 1);
        uint8_t *row = out + i * width;
        const uint8_t *up = i ? row - width : NULL;
        int kind = *in++;
        int64_t j;
        if (kind > 4)
            return 1;
        if (kind == 0 || (kind == 2 && !up)) {
            memcpy(row, in, width);
        } else if (step == 4 && (kind == 1 || kind == 4)) {
            row4(in, kind == 4 ? up : NULL, row, width);
        } else if (kind == 1 || (kind == 4 && !up)) {
            if (step == 1) {
                uint8_t left = 0;
                for (j = 0; j < width; j++)
                    row[j] = left = (uint8_t)(in[j] + left);
            } else {
                for (j = 0; j < step; j++)
                    row[j] = in[j];
                for (; j < width; j++)
                    row[j] = (uint8_t)(in[j] + row[j - step]);
            }
        } else if (kind == 2) {
            for (j = 0; j < width; j++)
                row[j] = (uint8_t)(in[j] + up[j]);
        } else if (kind == 3) {
            for (j = 0; j < width; j++) {
                int left = j >= step ? row[j - step] : 0;
                row[j] = (uint8_t)(in[j] + ((left + (up ? up[j] : 0)) >> 1));
            }
        } else {
            for (int64_t k = 0; k < step; k++) {
                int a = 0, c = 0;
                for (j = k; j < width; j += step) {
                    int b = up[j], p;
                    p = b == c ? a : a == c ? b : paeth(a, b, c);
                    row[j] = (uint8_t)(in[j] + p);
                    a = row[j];
                    c = b;
                }
            }
        }
    }
    return 0;
}

/* Adds a run of pixels to a matrix of classes + 2 rows and classes + 1 columns: what is not a class goes to
 * the last column, or to the last row but one (values that are `known`) or the last (anything else). */
static void add_run(int64_t *out, int64_t classes, int known, int gt, int pred, int64_t pixels)
{
    int64_t row = gt < classes ? gt : classes + !known;
    int64_t column = pred < classes ? pred : classes;
    out[row * (classes + 1) + column] += pixels;
}

/* Count pairs of values of two maps of `total` pixels; see add_run. */
void bz_count_pairs(const uint8_t *gt, const uint8_t *pred, int64_t total, int64_t classes, const uint8_t *known,
                    int64_t *out)
{
    int64_t start = 0, j = 0;
    if (total < 1)
        return;
    while (j < total) {
        uint8_t g = gt[j], p = pred[j];
        uint64_t g8 = 0x0101010101010101ull * g, p8 = 0x0101010101010101ull * p, a, b;
        start = j++;
        /* Eight pixels at a time where they are alike: most are. */
        for (;;) {
            while (j + 8 <= total) {
                memcpy(&a, gt + j, 8);
                memcpy(&b, pred + j, 8);
                if (a != g8 || b != p8)
                    break;
                j += 8;
            }
            if (j < total && gt[j] == g && pred[j] == p)
                j++;
            else
                break;
        }
        add_run(out, classes, known[g], g, p, j - start);
    }
}

/* Runs of one mask from its compressed RLE counts (rleFrString in cocoapi's maskApi.c). Writes the first
 * pixel of each foreground run and the pixel behind its last; there is room for `size` of them. Returns
 * their number, or -1 where the counts do not describe `pixels` pixels. */
static int64_t mask_runs(const uint8_t *counts, int64_t size, int64_t pixels, int64_t *starts, int64_t *ends)
{
    int64_t at = 0, place = 0, found = 0, index = 0, before = 0, last = 0;
    while (at < size) {
        int64_t value = 0;
        int shift = 0, digit;
        do {
            if (at >= size || shift >= 30)
                return -1;
            digit = counts[at++] - 48;
            if (digit < 0 || digit > 63)
                return -1;
            value |= (int64_t)(digit & 31) << shift;
            shift += 5;
        } while (digit & 32);
        if (digit & 16)
            value -= (int64_t)1 << shift;
        if (index > 2)
            value += before;
        if (value < 0 || value > pixels - place)
            return -1;
        if ((index & 1) && value) {
            starts[found] = place;
            ends[found++] = place + value;
        }
        place += value;
        before = last;
        last = value;
        index++;
    }
    return index && place == pixels ? found : -1;
}

/* Runs of `total` masks whose counts lie one after the other, of `sizes` bytes each; `masks` tells which
 * mask a run is of. There is room for as many runs as there are bytes. Returns their number, or -1 - i
 * where mask i is malformed. */
int64_t bz_rle_runs(const uint8_t *counts, const int64_t *sizes, int64_t total, int64_t pixels,
                    int64_t *starts, int64_t *ends, int64_t *masks)
{
    int64_t found = 0;
    for (int64_t i = 0; i < total; i++) {
        int64_t more = mask_runs(counts, sizes[i], pixels, starts + found, ends + found);
        if (more < 0)
            return -1 - i;
        for (int64_t k = 0; k < more; k++)
            masks[found + k] = i;
        found += more;
        counts += sizes[i];
    }
    return found;
}

/* Sort `total` keys by their upper 32 bits, of which only the lowest `bits` are used. The result is in
 * `keys` or in `other`, whichever is returned. */
static uint64_t *sort_keys(uint64_t *keys, uint64_t *other, int64_t total, int bits)
{
    for (int shift = 32; shift < 32 + bits; shift += 11) {
        int64_t places[2049] = {0};
        for (int64_t i = 0; i < total; i++)
            places[(keys[i] >> shift & 2047) + 1]++;
        for (int k = 0; k < 2047; k++)
            places[k + 1] += places[k];
        for (int64_t i = 0; i < total; i++)
            other[places[keys[i] >> shift & 2047]++] = keys[i];
        uint64_t *swap = keys;
        keys = other;
        other = swap;
    }
    return keys;
}

/* Class map, as runs in ascending order, of masks whose counts lie one after the other (see bz_rle_runs).
 * `scratch` has room for five times as many numbers as there are bytes and one more; `starts` and `values`
 * for twice as many, and one. Returns the number of runs, -1 - i where mask i is malformed, or -1 - total
 * where masks share pixels. */
int64_t bz_class_runs(const uint8_t *counts, const int64_t *sizes, int64_t total, int64_t pixels,
                      const uint8_t *classes, int64_t *scratch, int64_t room, int64_t *starts,
                      uint8_t *values)
{
    int64_t *low = scratch, *high = low + room, *masks = high + room, found, end = 0;
    uint64_t *keys = (uint64_t *)(masks + room), *sorted;
    int bits = 0;
    found = bz_rle_runs(counts, sizes, total, pixels, low, high, masks);
    if (found < 0)
        return found;
    while (pixels >> bits)
        bits++;
    for (int64_t i = 0; i < found; i++)
        keys[i] = (uint64_t)low[i] << 32 | (uint64_t)i;
    sorted = sort_keys(keys, keys + room, found, bits);
    starts[0] = 0;
    values[0] = 255;
    for (int64_t i = 0; i < found; i++) {
        int64_t at = (int64_t)(sorted[i] & 0xffffffff);
        if (low[at] < end)
            return -1 - total;
        end = high[at];
        starts[2 * i + 1] = low[at];
        starts[2 * i + 2] = end;
        values[2 * i + 1] = classes[masks[at]];
        values[2 * i + 2] = 255;
    }
    return 2 * found + 1;
}

/* Confusion of two class maps given as runs in ascending order, the first of each starting at 0; see
 * add_run. */
void bz_merge_runs(const int64_t *gt_starts, const uint8_t *gt, int64_t gt_count, const int64_t *pred_starts,
                   const uint8_t *pred, int64_t pred_count, int64_t pixels, int64_t classes, int64_t *out)
{
    int64_t i = 0, j = 0, place = 0;
    while (i < gt_count && j < pred_count) {
        int64_t gt_end = i + 1 < gt_count ? gt_starts[i + 1] : pixels;
        int64_t pred_end = j + 1 < pred_count ? pred_starts[j + 1] : pixels;
        int64_t end = gt_end < pred_end ? gt_end : pred_end;
        add_run(out, classes, gt[i] == classes || gt[i] == 255, gt[i], pred[j], end - place);
        place = end;
        i += gt_end == end;
        j += pred_end == end;
    }
}

/* Sizes of the tables of instance matching: area ranges and IoU thresholds, see matching.py. */
enum { AREAS = 4, THRESHOLDS = 10 };
#define OUT_OF_MEMORY INT64_MIN

static uint8_t area_bits(double area, const double *ranges)
{
    uint8_t bits = 0;
    for (int a = 0; a < AREAS; a++)
        bits |= (uint8_t)((area < ranges[2 * a] || area > ranges[2 * a + 1]) << a);
    return bits;
}

/* Match the detections of one class of one frame, best score first, at all thresholds and area ranges.
 *
 * Row `order[k]`, column `columns[g]` of `iou` (`width` columns) is of detection k and object g; `ignored` and
 * `outside` are bit masks of area ranges. With `coco` as evaluateImg in pycocotools' cocoeval.py: an object
 * that counts is preferred to an ignored one, on ties the last is taken. Otherwise as the official toolkit for
 * bitmasks: the highest IoU whether it counts or not, on ties the first. `taken` has room for THRESHOLDS *
 * objects. Writes bit masks of thresholds in AREAS rows of `stride`. */
static void match_class(const double *iou, int64_t width, const int64_t *order, int64_t detections,
                        const uint8_t *outside, const int64_t *columns, int64_t objects,
                        const uint8_t *ignored, const uint8_t *crowd, const double *thresholds, int64_t coco,
                        uint8_t *taken, uint16_t *hits, uint16_t *nothing, int64_t stride)
{
    for (int a = 0; a < AREAS; a++) {
        memset(taken, 0, (size_t)(THRESHOLDS * objects));
        for (int64_t k = 0; k < detections; k++) {
            const double *row = iou + order[k] * width;
            uint16_t hit = 0, neutral = 0;
            for (int t = 0; t < THRESHOLDS; t++) {
                uint8_t *gone = taken + t * objects;
                double highest = 0;
                int64_t best = -1;
                int best_ignored = 0;
                for (int64_t g = 0; g < objects; g++) {
                    double value = row[columns[g]];
                    int skip = ignored[columns[g]] >> a & 1;
                    if (value < thresholds[t] || (gone[g] && !crowd[columns[g]]))
                        continue;
                    if (best >= 0) {
                        if (coco && skip != best_ignored ? skip : coco ? value < highest : value <= highest)
                            continue;
                    }
                    best = g;
                    highest = value;
                    best_ignored = skip;
                }
                if (best >= 0) {
                    gone[best] = 1;
                    hit |= (uint16_t)(1 << t);
                    neutral |= (uint16_t)(best_ignored << t);
                }
            }
            if (outside[order[k]] >> a & 1)
                neutral |= (uint16_t)(~hit & ((1 << THRESHOLDS) - 1));
            hits[a * stride + k] = hit;
            nothing[a * stride + k] = neutral;
        }
    }
}

/* Match one frame, class by class.
 *
 * `iou` is (detections, objects); classes count from 0. At most `limit` detections a class are matched.
 * `settings` holds the thresholds and behind them the area ranges. Writes the detections in order, class by
 * class and best score first (ties as they came), their bit masks (AREAS, detections), and for each class how
 * many objects count in each range and whether there is any. `order` has room for all detections, the rest is
 * zeroed by the caller. Returns the number of detections written. */
int64_t bz_match_frame(const double *iou, int64_t detections, int64_t objects, const double *scores,
                       const int64_t *found_class, const double *found_areas, const int64_t *true_class,
                       const double *true_areas, const uint8_t *true_ignored, const uint8_t *crowd,
                       int64_t classes, int64_t limit, const double *settings, int64_t coco, int64_t *order,
                       uint16_t *hits, uint16_t *nothing, int64_t *positives, uint8_t *present)
{
    const double *ranges = settings + THRESHOLDS;
    int64_t done = 0, *columns = malloc(sizeof(int64_t) * (size_t)(objects + 1));
    uint8_t *outside = malloc((size_t)(detections + objects * (THRESHOLDS + 1) + 1));
    if (!columns || !outside) {
        free(columns);
        free(outside);
        return OUT_OF_MEMORY;
    }
    uint8_t *ignored = outside + detections, *taken = ignored + objects;
    for (int64_t d = 0; d < detections; d++)
        outside[d] = area_bits(found_areas[d], ranges);
    for (int64_t g = 0; g < objects; g++)
        ignored[g] = true_ignored[g] ? (1 << AREAS) - 1 : area_bits(true_areas[g], ranges);
    for (int64_t c = 0; c < classes; c++) {
        int64_t count = 0, end = done;
        for (int64_t d = 0; d < detections; d++) {
            int64_t at = end;
            if (found_class[d] != c)
                continue;
            for (; at > done && scores[order[at - 1]] < scores[d]; at--)
                order[at] = order[at - 1];
            order[at] = d;
            end++;
        }
        if (end > done + limit)
            end = done + limit;
        for (int64_t g = 0; g < objects; g++) {
            if (true_class[g] != c)
                continue;
            columns[count++] = g;
            for (int a = 0; a < AREAS; a++)
                positives[c * AREAS + a] += !(ignored[g] >> a & 1);
        }
        present[c] = count > 0;
        match_class(iou, objects, order + done, end - done, outside, columns, count, ignored, crowd, settings,
                    coco, taken, hits + done, nothing + done, detections);
        done = end;
    }
    free(columns);
    free(outside);
    return done;
}

/* Common pixels of two masks given as runs in ascending order. */
static int64_t common(const int64_t *starts, const int64_t *ends, int64_t i, int64_t i_end, int64_t j,
                      int64_t j_end)
{
    int64_t pixels = 0;
    while (i < i_end && j < j_end) {
        int64_t low = starts[i] > starts[j] ? starts[i] : starts[j];
        int64_t high = ends[i] < ends[j] ? ends[i] : ends[j];
        if (high > low)
            pixels += high - low;
        if (ends[i] < ends[j])
            i++;
        else
            j++;
    }
    return pixels;
}

/* Areas of masks of one size, whether any two of the first `detections` of `total` share a pixel, and the IoU
 * of these with the rest where both are of one class, over the detection's area where the object is a crowd
 * (rleIou in cocoapi's maskApi.c). Their counts lie one after the other, see bz_rle_runs; `iou` is
 * (detections, total - detections) and may be NULL; it is zeroed by the caller. Returns 0 or 1 for sharing,
 * -1 - i where mask i is malformed. */
int64_t bz_mask_iou(const uint8_t *counts, const int64_t *sizes, int64_t total, int64_t detections,
                    int64_t pixels, const int64_t *classes, const uint8_t *crowd, double *areas, double *iou)
{
    int64_t room = 1, found = 0, sharing = 0, objects = total - detections, words = pixels / 64 + 1;
    for (int64_t i = 0; i < total; i++)
        room += sizes[i];
    int64_t *starts = malloc(sizeof(int64_t) * (size_t)room), *ends = malloc(sizeof(int64_t) * (size_t)room);
    int64_t *first = malloc(sizeof(int64_t) * (size_t)(total + 1));
    uint64_t *seen = calloc((size_t)words, sizeof(uint64_t));
    if (!starts || !ends || !first || !seen) {
        sharing = OUT_OF_MEMORY;
        goto done;
    }
    for (int64_t i = 0; i < total; i++) {
        int64_t more = mask_runs(counts, sizes[i], pixels, starts + found, ends + found), area = 0;
        if (more < 0) {
            sharing = -1 - i;
            goto done;
        }
        first[i] = found;
        for (int64_t k = found; k < found + more; k++) {
            area += ends[k] - starts[k];
            if (i >= detections)
                continue;
            for (int64_t at = starts[k]; at < ends[k];) {
                int64_t stop = (at / 64 + 1) * 64 < ends[k] ? (at / 64 + 1) * 64 : ends[k];
                uint64_t bits = (stop - at == 64 ? ~0ull : (1ull << (stop - at)) - 1) << at % 64;
                sharing |= (seen[at / 64] & bits) != 0;
                seen[at / 64] |= bits;
                at = stop;
            }
        }
        areas[i] = (double)area;
        found += more;
        counts += sizes[i];
    }
    first[total] = found;
    for (int64_t d = 0; iou && !sharing && d < detections; d++) {
        for (int64_t g = 0; g < objects; g++) {
            int64_t o = detections + g, pixels_in_common;
            if (classes[d] != classes[o] || first[d] == first[d + 1] || first[o] == first[o + 1])
                continue;
            if (ends[first[d + 1] - 1] <= starts[first[o]] || ends[first[o + 1] - 1] <= starts[first[d]])
                continue;
            pixels_in_common = common(starts, ends, first[d], first[d + 1], first[o], first[o + 1]);
            if (pixels_in_common)
                iou[d * objects + g] = (double)pixels_in_common /
                                       (crowd[g] ? areas[d] : areas[d] + areas[o] - (double)pixels_in_common);
        }
    }
done:
    free(starts);
    free(ends);
    free(first);
    free(seen);
    return sharing;
}

/* How often each pair of 32-bit words occurs in two arrays of rows of `width` words. `keys` (pairs as gt
 * shifted by 32 | pred; 0 pixels mark an empty place) and `pixels` are a table of 1 << bits places, zeroed by
 * the caller. Returns the number of different pairs, or -1 where they are more than half of the places. */
int64_t bz_word_pairs(const uint32_t *gt, const uint32_t *pred, int64_t total, uint64_t *keys, int64_t *pixels,
                      int64_t bits)
{
    int64_t found = 0, j = 0;
    while (j < total) {
        int64_t start = j++;
        uint32_t g = gt[start], p = pred[start];
        uint64_t g2 = (uint64_t)g << 32 | g, p2 = (uint64_t)p << 32 | p, a, b;
        for (; j + 2 <= total; j += 2) {
            memcpy(&a, gt + j, 8);
            memcpy(&b, pred + j, 8);
            if (a != g2 || b != p2)
                break;
        }
        while (j < total && gt[j] == g && pred[j] == p)
            j++;
        uint64_t key = (uint64_t)g << 32 | p, at = (key * 0x9E3779B97F4A7C15ull) >> (64 - bits);
        while (pixels[at] && keys[at] != key)
            at = (at + 1) & (((uint64_t)1 << bits) - 1);
        if (!pixels[at]) {
            keys[at] = key;
            if (++found > (int64_t)1 << (bits - 1))
                return -1;
        }
        pixels[at] += j - start;
    }
    return found;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&module);
}
