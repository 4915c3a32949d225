/* The loops over pixels and runs that NumPy has no fast way for.
 *
 * Compiled when the package is built, where there is a C compiler (hatch_build.py), and called through ctypes
 * by bddzoo/datasets/native.py; every function has a counterpart in Python with the same results, and
 * none writes beyond the sizes it is given. Only the last lines are Python's: they make the library an
 * extension module of the stable ABI, so that one file serves all versions of Python.
 */
#define Py_LIMITED_API 0x030A0000
#include <Python.h>
#include <float.h>
#include <math.h>
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

/* Runs of one mask from its compressed RLE counts (rleFrString in cocoapi's maskApi.c), which go on to `end` or,
 * where they are a JSON string, to its quote. Writes the first pixel of each foreground run and the pixel behind
 * its last; there is room for half as many as there are bytes. Moves `from` behind the counts, tells how many
 * pixels they are of, and returns the number of runs, or -1 where they are of no mask of at most `most`. */
static int64_t read_runs(const uint8_t **from, const uint8_t *end, int quoted, int64_t most, int64_t *pixels,
                         int64_t *starts, int64_t *ends)
{
    const uint8_t *at = *from;
    int64_t place = 0, found = 0, index = 0, before = 0, last = 0;
    while (at < end && !(quoted && *at == '"')) {
        int64_t value = 0;
        int shift = 0, digit;
        do {
            if (at >= end || shift >= 30)
                return -1;
            digit = *at++ - 48;
            if (digit < 0 || digit > 63)
                return -1;
            /* One of the digits is a backslash, which JSON writes twice. */
            if (quoted && digit == '\\' - 48 && (at >= end || *at++ != '\\'))
                return -1;
            value |= (int64_t)(digit & 31) << shift;
            shift += 5;
        } while (digit & 32);
        if (digit & 16)
            value -= (int64_t)1 << shift;
        if (index > 2)
            value += before;
        if (value < 0 || value > most - place)
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
    *from = at;
    *pixels = place;
    return index ? found : -1;
}

/* The same of counts that are not in JSON and of a mask of exactly `pixels` pixels. */
static int64_t mask_runs(const uint8_t *counts, int64_t size, int64_t pixels, int64_t *starts, int64_t *ends)
{
    int64_t place = 0, found = read_runs(&counts, counts + size, 0, pixels, &place, starts, ends);
    return place == pixels ? found : -1;
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
 * objects, `near` for objects. Writes bit masks of thresholds in AREAS rows of `stride`. */
static void match_class(const double *iou, int64_t width, const int64_t *order, int64_t detections,
                        const uint8_t *outside, const int64_t *columns, int64_t objects,
                        const uint8_t *ignored, const uint8_t *crowd, const double *thresholds, int64_t coco,
                        int64_t *near, uint8_t *taken, uint16_t *hits, uint16_t *nothing, int64_t stride)
{
    for (int a = 0; a < AREAS; a++) {
        memset(taken, 0, (size_t)(THRESHOLDS * objects));
        for (int64_t k = 0; k < detections; k++) {
            const double *row = iou + order[k] * width;
            uint16_t hit = 0, neutral = 0;
            int64_t found = 0;
            for (int64_t g = 0; g < objects; g++)
                if (row[columns[g]] >= thresholds[0])
                    near[found++] = g;
            for (int t = 0; t < THRESHOLDS && found; t++) {
                uint8_t *gone = taken + t * objects;
                double highest = 0;
                int64_t best = -1;
                int best_ignored = 0;
                for (int64_t n = 0; n < found; n++) {
                    int64_t g = near[n];
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
    int64_t done = 0, *columns = malloc(sizeof(int64_t) * (size_t)(2 * objects + 1));
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
                    coco, columns + objects, taken, hits + done, nothing + done, detections);
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

/* Areas of `total` masks of one size given as runs, those of mask i from `first[i]` on, and whether any two of
 * the first `detections` share a pixel; `seen` has a zeroed bit for every pixel. */
static int64_t areas_of(const int64_t *first, const int64_t *starts, const int64_t *ends, int64_t total,
                        int64_t detections, uint64_t *seen, double *areas)
{
    int64_t sharing = 0;
    for (int64_t i = 0; i < total; i++) {
        int64_t area = 0;
        for (int64_t k = first[i]; k < first[i + 1]; k++) {
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
    }
    return sharing;
}

/* IoU (detections, objects) of masks of one class, over the detection's area where the object is a crowd (rleIou
 * in cocoapi's maskApi.c); detections come before objects. `iou` is zeroed by the caller. */
static void iou_of(const int64_t *first, const int64_t *starts, const int64_t *ends, int64_t total,
                   int64_t detections, const int64_t *classes, const uint8_t *crowd, const double *areas,
                   double *iou)
{
    int64_t objects = total - detections;
    for (int64_t d = 0; d < detections; d++) {
        for (int64_t g = 0; g < objects; g++) {
            int64_t o = detections + g, pixels;
            if (classes[d] != classes[o] || first[d] == first[d + 1] || first[o] == first[o + 1])
                continue;
            if (ends[first[d + 1] - 1] <= starts[first[o]] || ends[first[o + 1] - 1] <= starts[first[d]])
                continue;
            pixels = common(starts, ends, first[d], first[d + 1], first[o], first[o + 1]);
            if (pixels)
                iou[d * objects + g] =
                    (double)pixels / (crowd[g] ? areas[d] : areas[d] + areas[o] - (double)pixels);
        }
    }
}

/* Areas of masks of one size, whether any two of the first `detections` of `total` share a pixel, and the IoU of
 * these with the rest, see iou_of. Their counts lie one after the other, see bz_rle_runs. Returns 0 or 1 for
 * sharing (then there is no IoU), -1 - i where mask i is malformed. */
int64_t bz_mask_iou(const uint8_t *counts, const int64_t *sizes, int64_t total, int64_t detections,
                    int64_t pixels, const int64_t *classes, const uint8_t *crowd, double *areas, double *iou)
{
    int64_t room = 1, found = 0, sharing = 0;
    for (int64_t i = 0; i < total; i++)
        room += sizes[i];
    int64_t *starts = malloc(sizeof(int64_t) * (size_t)room), *ends = malloc(sizeof(int64_t) * (size_t)room);
    int64_t *first = malloc(sizeof(int64_t) * (size_t)(total + 1));
    uint64_t *seen = calloc((size_t)(pixels / 64 + 1), sizeof(uint64_t));
    if (!starts || !ends || !first || !seen) {
        sharing = OUT_OF_MEMORY;
        goto done;
    }
    for (int64_t i = 0; i < total; i++) {
        int64_t more = mask_runs(counts, sizes[i], pixels, starts + found, ends + found);
        if (more < 0) {
            sharing = -1 - i;
            goto done;
        }
        first[i] = found;
        found += more;
        counts += sizes[i];
    }
    first[total] = found;
    sharing = areas_of(first, starts, ends, total, detections, seen, areas);
    if (!sharing)
        iou_of(first, starts, ends, total, detections, classes, crowd, areas, iou);
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

/* Frames of instances, read from their JSON, compared and matched without Python.
 *
 * What is read is what bddzoo/datasets/formats/frames.py takes of a frame. Whatever is unusual, and all that is
 * wrong, is declined: then Python reads the frame and says what is the matter. So this reader may be stricter than
 * JSON (no escapes in names, no bytes beyond ASCII) and must never be laxer. */
#define DECLINED (-1)
enum { MAX_DEPTH = 32, MAX_NUMBER = 30, MAX_SIDE = 1 << 26, HEADER = 16 };

typedef struct {
    const uint8_t *at, *end;
} Text;

typedef struct {
    const uint8_t *at;
    int64_t size;
} Word;

/* One side of a batch of frames: their JSON (a NUL behind the last), where each begins and ends in it, and the names
 * of categories (a NUL behind each) with what they mean: class * 2, and 1 more for ignored ones. Where categories have
 * numbers, a frame is the annotations of an image in a COCO file, with commas between them. */
typedef struct {
    const uint8_t *data;
    const int64_t *bounds;
    const char *names;
    const int64_t *numbers, *kinds;
    int64_t count;
} Side;

/* Masks that were read: runs, and of each mask the first run, class, score, and whether it is crowd or ignored.
 * Where boxes are read instead: left, top, width and height of each. */
typedef struct {
    int64_t *starts, *ends, *first, *classes, total, runs, height, width;
    double *scores, *boxes;
    uint8_t *neutral;
    int crowd;
} Masks;

static void pass_space(Text *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\r' || *text->at == '\t'))
        text->at++;
}

static int pass(Text *text, uint8_t wanted)
{
    pass_space(text);
    if (text->at >= text->end || *text->at != wanted)
        return 0;
    text->at++;
    return 1;
}

static int literal(Text *text, const char *word)
{
    size_t size = strlen(word);
    if (!pass(text, (uint8_t)*word))
        return 0;
    text->at--;
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size))
        return 0;
    text->at += size;
    return 1;
}

static int is_word(Word word, const char *wanted)
{
    return (size_t)word.size == strlen(wanted) && !memcmp(word.at, wanted, (size_t)word.size);
}

/* Whether eight bytes are printable ASCII without quotes and backslashes. */
static int plain8(const uint8_t *at)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t v, quote, back, del;
    memcpy(&v, at, 8);
    quote = v ^ ones * '"';
    back = v ^ ones * '\\';
    del = v ^ ones * 127;
    return !((v | (v - ones * 32) | (quote - ones) | (back - ones) | (del - ones)) & ones * 128);
}

/* A string of printable ASCII; `plain`: without escapes. */
static int string(Text *text, int plain, Word *out)
{
    if (!pass(text, '"'))
        return 0;
    out->at = text->at;
    for (int at = 0; text->at < text->end && *text->at != '"'; text->at++, at++) {
        while (at % 8 == 0 && text->end - text->at > 8 && plain8(text->at))
            text->at += 8;
        if (*text->at == '"')
            break;
        if (*text->at < 32 || *text->at > 126)
            return 0;
        if (*text->at == '\\' && (plain || ++text->at >= text->end || !memchr("\"\\/bfnrt", *text->at, 8)))
            return 0;
    }
    out->size = text->at - out->at;
    return pass(text, '"');
}

static int digits(Text *text)
{
    const uint8_t *start = text->at;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9')
        text->at++;
    return text->at > start;
}

/* A number of moderate length; `whole`: without fraction and exponent. */
static int number(Text *text, int whole, Word *out)
{
    const uint8_t *lead;
    pass_space(text);
    out->at = text->at;
    if (text->at < text->end && *text->at == '-')
        text->at++;
    lead = text->at;
    if (!digits(text) || (*lead == '0' && text->at > lead + 1))
        return 0;
    if (text->at < text->end && *text->at == '.') {
        text->at++;
        if (whole || !digits(text))
            return 0;
    }
    if (text->at < text->end && (*text->at == 'e' || *text->at == 'E')) {
        const uint8_t *power;
        text->at++;
        if (text->at < text->end && (*text->at == '+' || *text->at == '-'))
            text->at++;
        power = text->at;
        if (whole || !digits(text) || text->at > power + 2)
            return 0;
    }
    out->size = text->at - out->at;
    return out->size <= (whole ? 9 : MAX_NUMBER);
}

/* The next key of an object that was begun, up to its value: 1, at the end 0, where it is malformed -1. */
static int next_key(Text *text, int first, Word *key)
{
    if (pass(text, '}'))
        return 0;
    return (first || pass(text, ',')) && string(text, 1, key) && pass(text, ':') ? 1 : -1;
}

/* Whether there is another item of an array that was begun, see next_key. */
static int next_item(Text *text, int first)
{
    if (pass(text, ']'))
        return 0;
    return first || pass(text, ',') ? 1 : -1;
}

/* Any value. */
static int skip(Text *text, int depth)
{
    Word word;
    int more, first = 1;
    if (depth > MAX_DEPTH)
        return 0;
    if (pass(text, '{')) {
        for (; (more = next_key(text, first, &word)) > 0; first = 0)
            if (!skip(text, depth + 1))
                return 0;
        return !more;
    }
    if (pass(text, '[')) {
        for (; (more = next_item(text, first)) > 0; first = 0)
            if (!skip(text, depth + 1))
                return 0;
        return !more;
    }
    switch (text->at < text->end ? *text->at : 0) {
    case '"':
        return string(text, 0, &word);
    case 'n':
        return literal(text, "null");
    case 't':
        return literal(text, "true");
    case 'f':
        return literal(text, "false");
    }
    return number(text, 0, &word);
}

static int flag(Text *text, int *out)
{
    if (*out >= 0)
        return 0;
    *out = literal(text, "true") || literal(text, "1");
    return *out || literal(text, "false") || literal(text, "0");
}

static int side(Text *text, int64_t *out)
{
    Word word;
    int64_t value = 0;
    if (!number(text, 1, &word) || *word.at == '-')
        return 0;
    for (int64_t i = 0; i < word.size; i++)
        value = value * 10 + (word.at[i] - '0');
    *out = value;
    return value > 0 && value <= MAX_SIDE;
}

/* {"counts": ..., "size": [height, width]}, as one more mask. */
static int read_rle(Text *text, Masks *masks)
{
    Word key;
    int64_t pixels = -1, height = 0, width = 0, runs = -1;
    int more, first = 1;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        if (is_word(key, "counts")) {
            if (runs >= 0 || !pass(text, '"'))
                return 0;
            runs = read_runs(&text->at, text->end, 1, MAX_SIDE, &pixels, masks->starts + masks->runs,
                             masks->ends + masks->runs);
            if (runs < 0 || !pass(text, '"'))
                return 0;
        } else if (is_word(key, "size")) {
            if (height || !pass(text, '[') || !side(text, &height) || !pass(text, ',') || !side(text, &width) ||
                !pass(text, ']'))
                return 0;
        } else if (!skip(text, 0)) {
            return 0;
        }
    }
    if (more || runs < 0 || !height || pixels != height * width)
        return 0;
    if (!masks->height) {
        masks->height = height;
        masks->width = width;
    }
    masks->first[masks->total] = masks->runs;
    masks->runs += runs;
    return masks->height == height && masks->width == width;
}

/* A decimal fraction whose digits and power of ten are doubles: then one division gives the nearest double. */
static int short_fraction(Word word, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int64_t whole = 0, places = 0, point = 0;
    for (int64_t i = *word.at == '-'; i < word.size; i++) {
        if (word.at[i] == '.') {
            point = 1;
            continue;
        }
        if (word.at[i] > '9')
            return 0;
        whole = whole * 10 + (word.at[i] - '0');
        places += point;
        if (whole > (int64_t)1 << 53 || places > 22)
            return 0;
    }
    *out = (double)whole / powers[places];
    if (*word.at == '-')
        *out = -*out;
    return FLT_EVAL_METHOD == 0;
}

/* A number as a double. The text ends with a NUL, and a number before. */
static int real(Text *text, double *out)
{
    Word word;
    char *behind;
    if (!number(text, 0, &word))
        return 0;
    if (short_fraction(word, out))
        return 1;
    *out = strtod((const char *)word.at, &behind);
    return (const uint8_t *)behind == text->at;
}

/* A place in an image: as `Pixel` of frames.py has it. */
static int pixel(Text *text, double *out)
{
    return real(text, out) && *out >= -1e6 && *out <= 1e6;
}

/* {"x1": ..., "y1": ..., "x2": ..., "y2": ...}, the last two inside of the box. */
static int read_box(Text *text, double *box)
{
    Word key;
    int more, first = 1, seen = 0;
    double corners[4] = {0};
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        int which = is_word(key, "x1") ? 0 : is_word(key, "y1") ? 1 : is_word(key, "x2") ? 2 : is_word(key, "y2") ? 3 : 4;
        if (which == 4 ? !skip(text, 0) : seen & 1 << which || !pixel(text, corners + which))
            return 0;
        seen |= 1 << which;
    }
    for (int k = 0; k < 2; k++) {
        box[k] = corners[k];
        box[k + 2] = corners[k + 2] - corners[k] + 1;
    }
    return !more && (seen & 15) == 15 && box[2] >= 0 && box[3] >= 0;
}

/* IoU of boxes of one class, over the detection's area where the object is a crowd (bbIou in cocoapi's maskApi.c);
 * detections come before objects. `iou` is zeroed by the caller. */
static void iou_of_boxes(const double *boxes, int64_t total, int64_t detections, const int64_t *classes,
                         const uint8_t *crowd, const double *areas, double *iou)
{
    int64_t objects = total - detections;
    for (int64_t d = 0; d < detections; d++) {
        const double *a = boxes + 4 * d;
        for (int64_t g = 0; g < objects; g++) {
            const double *b = boxes + 4 * (detections + g);
            double width, height, common;
            if (classes[d] != classes[detections + g])
                continue;
            width = (a[0] + a[2] < b[0] + b[2] ? a[0] + a[2] : b[0] + b[2]) - (a[0] > b[0] ? a[0] : b[0]);
            height = (a[1] + a[3] < b[1] + b[3] ? a[1] + a[3] : b[1] + b[3]) - (a[1] > b[1] ? a[1] : b[1]);
            if (width <= 0 || height <= 0)
                continue;
            common = width * height;
            iou[d * objects + g] = common / (crowd[g] ? areas[d] : areas[d] + areas[detections + g] - common);
        }
    }
}

/* Areas of boxes. Returns whether they are everyday ones: something on either side that has any reaches beyond the
 * second pixel, and no class has more than `limit` detections. */
static int areas_of_boxes(const Masks *masks, int64_t detections, int64_t limit, double *areas)
{
    for (int64_t start = 0, stop = detections; start < masks->total; start = stop, stop = masks->total) {
        double reach = 0;
        if (start == stop)
            continue;
        for (int64_t i = start; i < stop; i++) {
            const double *box = masks->boxes + 4 * i;
            for (int k = 0; k < 4; k++)
                reach = box[k] > reach ? box[k] : reach;
            areas[i] = box[2] * box[3];
        }
        if (reach <= 2)
            return 0;
    }
    for (int64_t i = limit; i < detections; i++) {
        int64_t alike = 0;
        for (int64_t k = 0; k <= i; k++)
            alike += masks->classes[k] == masks->classes[i];
        if (alike > limit)
            return 0;
    }
    return 1;
}

/* {"crowd": true, ...} or null. */
static int read_flags(Text *text, int *crowd, int *ignored)
{
    Word key;
    int more, first = 1;
    if (literal(text, "null"))
        return 1;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        int *which = is_word(key, "crowd") ? crowd : is_word(key, "ignored") ? ignored : NULL;
        if (which ? !flag(text, which) : !skip(text, 0))
            return 0;
    }
    return !more;
}

static void add_label(Masks *masks, int64_t kind, double score, int crowd, int ignored)
{
    ignored |= (int)(kind & 1);
    masks->crowd |= crowd && !ignored;
    masks->classes[masks->total] = kind >> 1;
    masks->scores[masks->total] = score;
    masks->neutral[masks->total++] = (uint8_t)(crowd || ignored);
}

/* An object with a mask (or box) and a category that is known. */
static int read_label(Text *text, const Side *known, Masks *masks, int scored)
{
    Word key, word;
    int64_t kind = -1;
    int more, first = 1, crowd = -1, ignored = -1, shape = 0, score = 0, attributes = 0;
    double value = 0;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        if (is_word(key, masks->boxes ? "box2d" : "rle")) {
            if (shape++ || !(masks->boxes ? read_box(text, masks->boxes + 4 * masks->total) : read_rle(text, masks)))
                return 0;
        } else if (is_word(key, "category")) {
            const char *name = known->names;
            if (kind >= 0 || !string(text, 1, &word))
                return 0;
            for (int64_t i = 0; i < known->count && kind < 0; i++, name += strlen(name) + 1)
                if (is_word(word, name))
                    kind = known->kinds[i];
            if (kind < 0)
                return 0;
        } else if (is_word(key, "score")) {
            if (score++)
                return 0;
            if (!literal(text, "null")) {
                if (!real(text, &value))
                    return 0;
                score++;
            }
        } else if (is_word(key, "attributes")) {
            if (attributes++ || !read_flags(text, &crowd, &ignored))
                return 0;
        } else if (is_word(key, "index")) {
            if (!literal(text, "null") && !number(text, 1, &word))
                return 0;
        } else if (is_word(key, "poly2d")) {
            if (!literal(text, "null") && !(pass(text, '[') && text->at-- && skip(text, 0)))
                return 0;
        } else if (!skip(text, 0)) {
            return 0;
        }
    }
    if (more || !shape || kind < 0 || (scored && score < 2))
        return 0;
    add_label(masks, kind, value, crowd > 0, ignored > 0);
    return 1;
}

/* A whole number of moderate length. */
static int whole(Text *text, int64_t *out)
{
    Word word;
    int64_t value = 0;
    if (!number(text, 1, &word))
        return 0;
    for (int64_t i = *word.at == '-'; i < word.size; i++)
        value = value * 10 + (word.at[i] - '0');
    *out = *word.at == '-' ? -value : value;
    return 1;
}

/* [x, y, width, height] of COCO; without a place to write to any list of numbers, or null. */
static int read_bbox(Text *text, double *box)
{
    int more, count = 0;
    double value;
    if (!box && literal(text, "null"))
        return 1;
    if (!pass(text, '['))
        return 0;
    for (; (more = next_item(text, !count)) > 0; count++) {
        if (!(box ? pixel(text, &value) : real(text, &value)) || (box && count == 4))
            return 0;
        if (box)
            box[count] = value;
    }
    return !more && (!box || (count == 4 && box[2] >= 0 && box[3] >= 0));
}

/* An annotation of a COCO file: of which image it is. With `masks` also its mask (or box) and category, which is
 * known; otherwise its values are only of the right kind. */
static int read_annotation(Text *text, const Side *known, Masks *masks, int scored, int64_t *image)
{
    enum { IMAGE, CATEGORY, SEGMENTATION, BBOX, CROWD, IGNORE, SCORE, INSTANCE, ATTRIBUTES, KEYS };
    static const char *const names[] = {"image_id", "category_id", "segmentation", "bbox", "iscrowd",
                                        "ignore",   "score",       "instance_id",  "attributes"};
    Word key;
    int64_t category = 0, instance, kind = -1;
    int more, good, first = 1, seen = 0, scores = 0, iscrowd = -1, ignore = -1, crowd = -1, ignored = -1;
    int boxed = masks && masks->boxes, wanted = 1 << IMAGE | 1 << CATEGORY;
    double value = 0;
    if (masks)
        wanted |= boxed ? 1 << BBOX : 1 << SEGMENTATION;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        int which = 0;
        while (which < KEYS && !is_word(key, names[which]))
            which++;
        if (which < KEYS && seen >> which & 1)
            return 0;
        seen |= 1 << which;
        switch (which) {
        case IMAGE:
            good = whole(text, image);
            break;
        case CATEGORY:
            good = whole(text, &category);
            break;
        case SEGMENTATION:
            good = masks && !boxed ? read_rle(text, masks) : skip(text, 0);
            break;
        case BBOX:
            good = read_bbox(text, boxed ? masks->boxes + 4 * masks->total : NULL);
            break;
        case CROWD:
            good = flag(text, &iscrowd);
            break;
        case IGNORE:
            good = flag(text, &ignore);
            break;
        case SCORE:
            good = literal(text, "null") || (scores = real(text, &value));
            break;
        case INSTANCE:
            good = whole(text, &instance);
            break;
        case ATTRIBUTES:
            if (masks)
                good = read_flags(text, &crowd, &ignored);
            else
                good = literal(text, "null") || (pass(text, '{') && text->at-- && skip(text, 0));
            break;
        default:
            good = skip(text, 0);
        }
        if (!good)
            return 0;
    }
    if (more || (seen & wanted) != wanted || (scored && !scores))
        return 0;
    if (!masks)
        return 1;
    for (int64_t i = 0; i < known->count && kind < 0; i++)
        if (known->numbers[i] == category)
            kind = known->kinds[i];
    if (kind < 0)
        return 0;
    /* Our attributes where they were written, otherwise COCO's own keys. */
    if (crowd < 0 && ignored < 0)
        add_label(masks, kind, value, iscrowd > 0, ignore > 0);
    else
        add_label(masks, kind, value, crowd > 0, ignored > 0);
    return 1;
}

/* The next item of a list that began before `data`. `state`: whether the list has only begun, where to go on, whether it
 * has ended. Returns 0 there, and before an item that is unusual or not there as a whole. */
static int next_in_list(Text *text, const uint8_t *data, int64_t *state, int (*read)(Text *, int64_t *), int64_t *start,
                        int64_t *out)
{
    const uint8_t *before = text->at;
    int more = next_item(text, (int)state[0]);
    pass_space(text);
    *start = text->at - data;
    if (more > 0 && read(text, out)) {
        state[0] = 0;
        return 1;
    }
    state[2] = !more;
    if (more)
        text->at = before;
    return 0;
}

static int read_image(Text *text, int64_t *image)
{
    return read_annotation(text, NULL, NULL, 0, image);
}

/* Annotations of a list in a COCO file (see next_in_list): of each run of those of one image that image, where it begins
 * and where it ends. Stops at `room` runs. Returns their number. */
int64_t bz_annotations(const uint8_t *data, int64_t size, int64_t *state, int64_t *runs, int64_t room)
{
    Text text = {data + state[1], data + size};
    int64_t found = 0, image, start;
    while (found < room && next_in_list(&text, data, state, read_image, &start, &image)) {
        if (!found || runs[3 * found - 3] != image) {
            runs[3 * found] = image;
            runs[3 * found + 1] = start;
            found++;
        }
        runs[3 * found - 1] = text.at - data;
    }
    state[1] = text.at - data;
    return found;
}

/* A string or whole number without sign, and how far behind `from` it begins; null as no place. */
static int read_name(Text *text, const uint8_t *from, int64_t *out)
{
    Word word = {NULL, 0};
    out[0] = -1;
    if (literal(text, "null"))
        return 1;
    if (text->at < text->end && *text->at == '"' ? !string(text, 1, &word) : !number(text, 1, &word) || *word.at == '-')
        return 0;
    out[0] = word.at - from;
    out[1] = word.size;
    return 1;
}

/* A frame: its name, video name and number. */
static int read_head(Text *text, int64_t *out)
{
    static const char *const names[] = {"name", "videoName", "frameIndex", "frames", "objects"};
    const uint8_t *from = text->at;
    Word key;
    int more, first = 1, seen = 0;
    out[0] = out[2] = out[4] = -1;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        int which = 0, quoted;
        while (which < 5 && !is_word(key, names[which]))
            which++;
        pass_space(text);
        quoted = text->at < text->end && *text->at == '"';
        if (which < 5 && (seen >> which & 1 || which > 2))
            return 0;
        seen |= 1 << which;
        if (which < 3 ? !read_name(text, from, out + 2 * which) : !skip(text, 0))
            return 0;
        /* Video names are strings, and numbers are not. */
        if ((which == 1 || which == 2) && out[2 * which] >= 0 && quoted != (which == 1))
            return 0;
    }
    return !more && out[0] >= 0;
}

/* Frames of a list (see next_in_list): where each begins and ends, and where its name, video name and number begin (or
 * -1) and of how many bytes they are. Stops at `room` frames. Returns their number. */
int64_t bz_frames(const uint8_t *data, int64_t size, int64_t *state, int64_t *frames, int64_t room)
{
    Text text = {data + state[1], data + size};
    int64_t found = 0, start, *out = frames;
    while (found < room && next_in_list(&text, data, state, read_head, &start, out + 2)) {
        out[0] = start;
        out[1] = text.at - data;
        for (int k = 2; k < 8; k += 2)
            out[k] += out[k] < 0 ? 0 : start;
        out += 8;
        found++;
    }
    state[1] = text.at - data;
    return found;
}

/* The labels of a frame. */
static int read_frame(Text *text, const Side *known, Masks *masks, int scored)
{
    Word key;
    int more, item, first = 1, start, labels = 0, size = 0;
    if (!pass(text, '{'))
        return 0;
    for (; (more = next_key(text, first, &key)) > 0; first = 0) {
        if (is_word(key, "labels")) {
            if (labels++)
                return 0;
            if (literal(text, "null"))
                continue;
            if (!pass(text, '['))
                return 0;
            for (start = 1; (item = next_item(text, start)) > 0; start = 0)
                if (!read_label(text, known, masks, scored))
                    return 0;
            if (item)
                return 0;
        } else if (is_word(key, "size")) {
            int64_t ignored;
            if (size++)
                return 0;
            if (literal(text, "null"))
                continue;
            int width = 0, height = 0;
            if (!pass(text, '{'))
                return 0;
            for (start = 1; (item = next_key(text, start, &key)) > 0; start = 0) {
                int *which = is_word(key, "width") ? &width : is_word(key, "height") ? &height : NULL;
                if (!which || (*which)++ || !side(text, &ignored))
                    return 0;
            }
            if (item || !width || !height)
                return 0;
        } else if (!skip(text, 0)) {
            return 0;
        }
    }
    if (more)
        return 0;
    pass_space(text);
    return text->at == text->end;
}

/* What one side has of a frame. */
static int read_side(Text *text, const Side *side, Masks *masks, int scored)
{
    int64_t image;
    if (!side->numbers)
        return text->at == text->end ? scored : read_frame(text, side, masks, scored);
    for (int first = 1; text->at < text->end; first = 0) {
        if ((!first && !pass(text, ',')) || !read_annotation(text, side, masks, scored, &image))
            return 0;
        pass_space(text);
    }
    return 1;
}

/* x1, y1, x2, y2 of detections minus those of the objects that they are on (IoU of at least `near`, of one class, and
 * no crowd): 4 numbers for each. Returns for how many. */
static int64_t corner_shifts(const Masks *masks, int64_t detections, const double *iou, double near, double *shifts)
{
    int64_t objects = masks->total - detections, rows = 0;
    for (int64_t d = 0; d < detections && objects; d++) {
        const double *row = iou + d * objects, *a = masks->boxes + 4 * d, *b;
        int64_t best = 0;
        for (int64_t g = 1; g < objects; g++)
            if (row[g] > row[best])
                best = g;
        if (row[best] < near || masks->neutral[detections + best])
            continue;
        b = masks->boxes + 4 * (detections + best);
        for (int k = 0; k < 2; k++) {
            shifts[4 * rows + k] = a[k] - b[k];
            shifts[4 * rows + 2 + k] = a[k] - b[k] + a[k + 2] - b[k + 2];
        }
        rows++;
    }
    return rows;
}

static int64_t record_size(int64_t classes, int64_t detections)
{
    return (HEADER + classes * AREAS * 8 + (classes + 7) / 8 * 8 + 25 * detections + 7) / 8 * 8;
}

/* Memory that is used again for the next frame of a batch. */
typedef struct {
    int64_t *order;
    double *areas, *iou;
    uint16_t *bits;
    uint64_t *seen;
    int64_t pairs, words;
} Scratch;

/* At least so many zeroed items; `room` is how many there are. */
static void *zeroed(void *old, int64_t *room, int64_t items, size_t size)
{
    if (items <= *room)
        return memset(old, 0, (size_t)items * size);
    free(old);
    *room = 2 * items;
    old = calloc((size_t)*room, size);
    if (!old)
        *room = 0;
    return old;
}

/* Compare and match the masks or boxes of one frame, which were read, and write its record; see bz_match_frames. */
static int64_t match_read(const Masks *masks, int64_t detections, int64_t classes, int64_t limit,
                          const double *settings, Scratch *scratch, uint8_t *out, int64_t room)
{
    int64_t objects = masks->total - detections, sharing = 0, found, size, *positives = (int64_t *)(out + HEADER);
    uint8_t *present = out + HEADER + classes * AREAS * 8, *scores = present + (classes + 7) / 8 * 8, *end;
    double *areas = scratch->areas, *iou;
    uint16_t *bits = scratch->bits;
    if (record_size(classes, detections) > room)
        return DECLINED;
    iou = scratch->iou = zeroed(scratch->iou, &scratch->pairs, detections * objects + 1, sizeof(double));
    if (!iou)
        return OUT_OF_MEMORY;
    if (masks->boxes) {
        if (!areas_of_boxes(masks, detections, limit, areas))
            return DECLINED;
        iou_of_boxes(masks->boxes, masks->total, detections, masks->classes, masks->neutral + detections, areas, iou);
    } else {
        scratch->seen = zeroed(scratch->seen, &scratch->words, masks->height * masks->width / 64 + 1, sizeof(uint64_t));
        if (!scratch->seen)
            return OUT_OF_MEMORY;
        sharing = areas_of(masks->first, masks->starts, masks->ends, masks->total, detections, scratch->seen, areas);
        if (!sharing)
            iou_of(masks->first, masks->starts, masks->ends, masks->total, detections, masks->classes,
                   masks->neutral + detections, areas, iou);
    }
    /* Objects lie behind all detections, dropped ones too. */
    found = sharing ? 0 : detections;
    size = record_size(classes, found);
    memset(out, 0, (size_t)size);
    memset(bits, 0, (size_t)(2 * AREAS * found) * sizeof(uint16_t));
    found = bz_match_frame(iou, found, objects, masks->scores, masks->classes, areas, masks->classes + detections,
                           areas + detections, masks->neutral + detections, masks->neutral + detections, classes,
                           limit, settings, 1, scratch->order, bits, bits + AREAS * found, positives, present);
    if (found < 0)
        return found;
    ((int64_t *)out)[0] = found;
    ((int64_t *)out)[1] = masks->crowd | sharing << 1 | (int64_t)(objects > 0) << 2 | (int64_t)(detections > 0) << 3;
    for (int64_t k = 0; k < found; k++)
        ((double *)scores)[k] = masks->scores[scratch->order[k]];
    end = scores + 8 * found;
    for (int64_t row = 0; row < 2 * AREAS; row++, end += found * 2)
        memcpy(end, bits + row * (sharing ? 0 : detections), (size_t)found * sizeof(uint16_t));
    for (int64_t k = 0; k < found; k++)
        end[k] = (uint8_t)masks->classes[scratch->order[k]];
    return record_size(classes, found);
}

/* Compare and match the instances of frames, as bz_mask_iou and bz_match_frame do (`settings`, `limit`); with `boxed`
 * their boxes instead of their masks. A frame without predictions is empty on that side.
 *
 * Writes records into `out`, of `room` bytes: how many detections there are (N) and what there is (1: crowd in the
 * ground truth, 2: detections share pixels and are dropped, 4: objects, 8: detections), objects that count (classes,
 * AREAS), all as int64; which classes occur (classes, up to a multiple of 8) as bytes; scores (N) as double; bit masks
 * of hits and of ignored detections (AREAS, N each) as uint16; classes (N) as bytes, up to a multiple of 8. `sizes`
 * gets the bytes of each, or DECLINED. Of the boxes of the first `rows[0]` frames it also writes corner_shifts (there
 * is room for as many bytes as the predictions have) and their number into `rows`. Returns 0 or OUT_OF_MEMORY. */
int64_t bz_match_frames(const Side *gt, const Side *pred, int64_t frames, int64_t classes, int64_t limit,
                        const double *settings, int64_t boxed, uint8_t *out, int64_t room, int64_t *sizes,
                        double near, double *shifts, int64_t *rows)
{
    int64_t size = 0, most, result = OUT_OF_MEMORY, leading = rows[0], *block;
    Masks masks = {0};
    Scratch scratch = {0};
    rows[0] = 0;
    for (int64_t i = 0; i < 2 * frames; i += 2) {
        int64_t both = gt->bounds[i + 1] - gt->bounds[i] + pred->bounds[i + 1] - pred->bounds[i];
        size = both > size ? both : size;
    }
    /* The shortest mask or box takes more than 32 bytes; a run takes two at least. */
    most = size / 32 + 1;
    block = malloc(sizeof(int64_t) * (size_t)(5 * most + 1 + size + 2 + (boxed ? 4 * most : 0)));
    masks.neutral = malloc((size_t)most);
    scratch.bits = malloc((size_t)(2 * AREAS * most) * sizeof(uint16_t));
    if (!block || !masks.neutral || !scratch.bits)
        goto done;
    masks.first = block;
    masks.classes = masks.first + most + 1;
    scratch.order = masks.classes + most;
    masks.scores = (double *)(scratch.order + most);
    scratch.areas = masks.scores + most;
    masks.starts = (int64_t *)(scratch.areas + most);
    masks.ends = masks.starts + size / 2 + 1;
    masks.boxes = boxed ? (double *)(masks.ends + size / 2 + 1) : NULL;
    for (int64_t i = 0; i < frames; i++) {
        Text text = {pred->data + pred->bounds[2 * i], pred->data + pred->bounds[2 * i + 1]};
        int64_t detections;
        masks.total = masks.runs = masks.height = masks.width = 0;
        sizes[i] = DECLINED;
        if (!read_side(&text, pred, &masks, 1))
            continue;
        detections = masks.total;
        masks.crowd = 0;
        text.at = gt->data + gt->bounds[2 * i];
        text.end = gt->data + gt->bounds[2 * i + 1];
        if (!read_side(&text, gt, &masks, 0) || !(masks.height || boxed))
            continue;
        masks.first[masks.total] = masks.runs;
        sizes[i] = match_read(&masks, detections, classes, limit, settings, &scratch, out, room);
        if (sizes[i] == OUT_OF_MEMORY)
            goto done;
        if (sizes[i] < 0)
            continue;
        out += sizes[i];
        room -= sizes[i];
        if (boxed && i < leading)
            rows[0] += corner_shifts(&masks, detections, scratch.iou, near, shifts + 4 * rows[0]);
    }
    result = 0;
done:
    free(block);
    free(masks.neutral);
    free(scratch.bits);
    free(scratch.iou);
    free(scratch.seen);
    return result;
}

/* A detection, and its place among those of its class and frame. */
typedef struct {
    double score;
    int64_t place;
    uint16_t hits[AREAS], ignored[AREAS];
    int32_t rank;
} Found;

/* Best score first; ties as they came. */
static int by_score(const void *left, const void *right)
{
    const Found *a = left, *b = right;
    if (a->score != b->score)
        return a->score < b->score ? 1 : -1;
    return a->place < b->place ? -1 : a->place > b->place;
}

/* Interpolated precision at `points` (ascending), as COCO's accumulate has it, of detections that are `right` or only
 * `counted` at one threshold (bit masks). Returns how many are right; `envelope` has room for all. */
static int64_t interpolated(const uint16_t *right, const uint16_t *counted, int64_t total, uint16_t bit,
                            double positives, const double *points, int64_t count, double *envelope, double *out)
{
    int64_t hits = 0, seen = 0, at = 0;
    for (int64_t i = 0; i < total; i++) {
        seen += (counted[i] & bit) != 0;
        if (right[i] & bit) {
            hits++;
            /* The machine epsilon as in pycocotools. */
            envelope[hits - 1] = (double)hits / ((double)hits + (double)(seen - hits) + DBL_EPSILON);
        }
    }
    for (int64_t k = hits - 2; k >= 0; k--)
        envelope[k] = envelope[k] < envelope[k + 1] ? envelope[k + 1] : envelope[k];
    for (int64_t k = 0; k < count; k++) {
        while (at < hits && (double)(at + 1) / positives < points[k])
            at++;
        out[k] = at < hits ? envelope[at] : 0;
    }
    return hits;
}

/* Average precision of records (see bz_match_frames) of `size` bytes, in the order that decides ties of score.
 * Writes positives (classes, AREAS), precision at the points (classes, AREAS, THRESHOLDS, points) and recall (limits,
 * classes, AREAS, THRESHOLDS), with at most so many detections of a class and frame; precision with the last limit.
 * Nothing is written where a class has no positives. Returns 0, OUT_OF_MEMORY, or 1 for what is not such records. */
int64_t bz_average_precision(const uint8_t *records, int64_t size, int64_t classes, const double *points,
                             int64_t point_count, const int64_t *limits, int64_t limit_count, int64_t *positives,
                             double *precision, double *recall)
{
    const uint8_t *end = records + size;
    int64_t total = 0, result = 1, *first = calloc((size_t)(classes + 1), sizeof(int64_t));
    int64_t last = limits[limit_count - 1];
    Found *found = NULL;
    double *envelope = NULL;
    uint16_t *right = NULL, *counted;
    if (!first)
        return OUT_OF_MEMORY;
    /* How many there are of each class, then where the detections of each begin. */
    for (const uint8_t *at = records; at < end;) {
        int64_t count = end - at < HEADER ? -1 : *(const int64_t *)at;
        const uint8_t *kinds;
        if (count < 0 || count > size || record_size(classes, count) > end - at)
            goto done;
        kinds = at + HEADER + classes * AREAS * 8 + (classes + 7) / 8 * 8 + 24 * count;
        for (int64_t k = 0; k < count; k++) {
            if (kinds[k] >= classes)
                goto done;
            first[kinds[k] + 1]++;
        }
        for (int64_t k = 0; k < classes * AREAS; k++)
            positives[k] += ((const int64_t *)(at + HEADER))[k];
        total += count;
        at += record_size(classes, count);
    }
    for (int64_t c = 0; c < classes; c++)
        first[c + 1] += first[c];
    result = OUT_OF_MEMORY;
    found = malloc(sizeof(Found) * (size_t)(total + 1));
    envelope = malloc(sizeof(double) * (size_t)(total + 1));
    right = malloc(2 * sizeof(uint16_t) * (size_t)(total + 1));
    if (!found || !envelope || !right)
        goto done;
    counted = right + total;
    for (const uint8_t *at = records; at < end;) {
        int64_t count = *(const int64_t *)at;
        const double *scores = (const double *)(at + HEADER + classes * AREAS * 8 + (classes + 7) / 8 * 8);
        const uint16_t *bits = (const uint16_t *)(scores + count);
        const uint8_t *kinds = (const uint8_t *)(bits + 2 * AREAS * count);
        int32_t rank = 0;
        for (int64_t k = 0; k < count; k++) {
            Found *one = found + first[kinds[k]]++;
            rank = k && kinds[k] == kinds[k - 1] ? rank + 1 : 0;
            one->score = scores[k];
            one->place = one - found;
            one->rank = rank;
            for (int a = 0; a < AREAS; a++) {
                one->hits[a] = bits[a * count + k];
                one->ignored[a] = bits[(AREAS + a) * count + k];
            }
        }
        at += record_size(classes, count);
    }
    for (int64_t c = 0, start = 0; c < classes; start = first[c++]) {
        qsort(found + start, (size_t)(first[c] - start), sizeof(Found), by_score);
        for (int64_t a = 0; a < AREAS; a++) {
            int64_t place = c * AREAS + a, kept = 0;
            double wanted = (double)positives[place];
            if (!positives[place])
                continue;
            for (int64_t l = 0; l < limit_count; l++) {
                double *reached = recall + (l * classes * AREAS + place) * THRESHOLDS;
                for (int64_t i = start; i < first[c]; i++)
                    for (int t = 0; t < THRESHOLDS && found[i].rank < limits[l]; t++)
                        reached[t] += (found[i].hits[a] & ~found[i].ignored[a]) >> t & 1;
                for (int t = 0; t < THRESHOLDS; t++)
                    reached[t] /= wanted;
            }
            for (int64_t i = start; i < first[c]; i++) {
                if (found[i].rank >= last)
                    continue;
                right[kept] = found[i].hits[a] & (uint16_t)~found[i].ignored[a];
                counted[kept++] = (uint16_t)~found[i].ignored[a];
            }
            for (int t = 0; t < THRESHOLDS; t++)
                interpolated(right, counted, kept, (uint16_t)(1 << t), wanted, points, point_count, envelope,
                             precision + (place * THRESHOLDS + t) * point_count);
        }
    }
    result = 0;
done:
    free(first);
    free(found);
    free(envelope);
    free(right);
    return result;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&module);
}
