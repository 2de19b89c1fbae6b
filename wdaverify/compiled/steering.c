/* Passes through ReLUs, and peaks over l-inf shells, in single precision: they steer a search and prove nothing.

   Each function here has a twin in numpy beside its caller (engines/cells/lines.py, engines/cells/peaks.py), which says what is computed;
   sums may be in another order. Arrays are contiguous; what does not fit is refused with ValueError before anything is touched. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>

#include "arrays.h"

#define TINY 1e-8f
#define WALK 32

/* Rows of q -> nu = q slope + scale beta made, and what that costs the constant. */
CLONES static void back_rows(Py_ssize_t rows, Py_ssize_t width, Py_ssize_t first, Py_ssize_t total, const int64_t *index,
                             const float *q, float *nu, float *kept, const float *alpha, const float *beta, const float *chord,
                             const float *offset, const float *open, const float *made, const float *floor_, const float *scale,
                             float *constant)
{
    for (Py_ssize_t r = 0; r < rows; r++) {
        const Py_ssize_t own = r * total + first, at = (index ? index[r] : r) * total + first;
        const float *restrict qr = q + r * width, *restrict al = alpha + own, *restrict be = beta + at, *restrict ch = chord + at;
        const float *restrict off = offset + at, *restrict op = open + at, *restrict ma = made + at, *restrict fl = floor_ + at;
        float *restrict out = nu + r * width, *restrict keep = kept + own;
        const float s = scale[r];
        float lost = 0.0f, spared = 0.0f;
        INDEPENDENT
        for (Py_ssize_t j = 0; j < width; j++) {
            const float x = qr[j], a = al[j], c = ch[j], less = x * off[j];
            const float flat = op[j] != 0.0f ? a : c, slope = x > 0.0f ? c : flat;
            keep[j] = x;
            out[j] = x * slope + s * (be[j] * ma[j]);
            lost += x > 0.0f ? less : 0.0f;
            spared += be[j] * fl[j];
        }
        constant[r] -= lost + s * spared;
    }
}

static PyObject *back(PyObject *self, PyObject *args)
{
    Py_ssize_t first, total;
    PyObject *o[13];
    if (!PyArg_ParseTuple(args, "nnOOOOOOOOOOOOO", &first, &total, &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8],
                          &o[9], &o[10], &o[11], &o[12]))
        return NULL;
    enum { INDEX, Q, NU, KEPT, ALPHA, BETA, CHORD, OFFSET, OPEN, MADE, FLOOR, SCALE, CONSTANT, COUNT };
    static const char *kinds = "qffffffffffff";
    Views v;
    if (!views(&v, o, COUNT, kinds, (1 << NU) | (1 << KEPT) | (1 << CONSTANT)))
        return NULL;
    const Py_ssize_t rows = v.n[SCALE], width = rows ? v.n[Q] / rows : 0;
    Py_ssize_t nodes = total ? v.n[CHORD] / total : 0;
    int good = v.n[CONSTANT] == rows && v.n[Q] == rows * width && v.n[NU] == v.n[Q] && first >= 0 && first + width <= total;
    good = good && v.n[KEPT] == rows * total && v.n[ALPHA] == rows * total && v.n[CHORD] == nodes * total;
    for (int k = BETA; k <= FLOOR; k++)
        good = good && v.n[k] == nodes * total;
    if (!good || !within(&v, INDEX, rows, nodes))
        return refused(&v, "back: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    back_rows(rows, width, first, total, v.p[INDEX], v.p[Q], v.p[NU], v.p[KEPT], v.p[ALPHA], v.p[BETA], v.p[CHORD], v.p[OFFSET],
              v.p[OPEN], v.p[MADE], v.p[FLOOR], v.p[SCALE], v.p[CONSTANT]);
    Py_END_ALLOW_THREADS
    return done(&v);
}

/* Rows of z -> h = slope z - offset, the slopes in alpha, in beta or in the scale of beta. */
CLONES static void forward_rows(Py_ssize_t rows, Py_ssize_t width, Py_ssize_t first, Py_ssize_t total, const int64_t *index,
                                const float *z, float *h, const float *kept, const float *alpha, const float *beta,
                                const float *chord, const float *offset, const float *open, const float *made,
                                const float *floor_, float *in_alpha, float *in_beta, float *in_scale)
{
    for (Py_ssize_t r = 0; r < rows; r++) {
        const Py_ssize_t own = r * total + first, at = (index ? index[r] : r) * total + first;
        const float *restrict zr = z + r * width, *restrict q = kept + own, *restrict al = alpha + own, *restrict be = beta + at;
        const float *restrict ch = chord + at, *restrict off = offset + at, *restrict op = open + at, *restrict ma = made + at;
        const float *restrict fl = floor_ + at;
        float *restrict out = h + r * width, *restrict ga = in_alpha + own;
        float sum = 0.0f;
        if (in_beta) {
            float *restrict gb = in_beta + own;
            INDEPENDENT
            for (Py_ssize_t j = 0; j < width; j++)
                gb[j] = zr[j] * ma[j] - fl[j];
        }
        INDEPENDENT
        for (Py_ssize_t j = 0; j < width; j++) {
            const float x = zr[j], p = q[j], a = al[j], c = ch[j], o = off[j], product = x * p;
            const float flat = op[j] != 0.0f ? a : c, slope = p > 0.0f ? c : flat, less = p > 0.0f ? o : 0.0f;
            const float falling = p > 0.0f ? 0.0f : product;
            ga[j] = op[j] != 0.0f ? falling : 0.0f;
            out[j] = x * slope - less;
            sum += be[j] * (x * ma[j] - fl[j]);
        }
        if (in_scale)
            in_scale[r] += sum;
    }
}

static PyObject *forward(PyObject *self, PyObject *args)
{
    Py_ssize_t first, total;
    PyObject *o[14];
    if (!PyArg_ParseTuple(args, "nnOOOOOOOOOOOOOO", &first, &total, &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8],
                          &o[9], &o[10], &o[11], &o[12], &o[13]))
        return NULL;
    enum { INDEX, Z, H, KEPT, ALPHA, BETA, CHORD, OFFSET, OPEN, MADE, FLOOR, IN_ALPHA, IN_BETA, IN_SCALE, COUNT };
    static const char *kinds = "qfffffffffffff";
    Views v;
    if (!views(&v, o, COUNT, kinds, (1 << H) | (1 << IN_ALPHA) | (1 << IN_BETA) | (1 << IN_SCALE)))
        return NULL;
    const Py_ssize_t rows = total ? v.n[ALPHA] / total : 0, width = rows ? v.n[Z] / rows : 0, nodes = total ? v.n[CHORD] / total : 0;
    int good = v.n[ALPHA] == rows * total && v.n[Z] == rows * width && v.n[H] == v.n[Z] && first >= 0 && first + width <= total;
    good = good && v.n[KEPT] == rows * total && v.n[IN_ALPHA] == rows * total && v.n[CHORD] == nodes * total;
    good = good && (!v.p[IN_BETA] || v.n[IN_BETA] == rows * total) && (!v.p[IN_SCALE] || v.n[IN_SCALE] == rows);
    for (int k = BETA; k <= FLOOR; k++)
        good = good && v.n[k] == nodes * total;
    if (!good || !within(&v, INDEX, rows, nodes))
        return refused(&v, "forward: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    forward_rows(rows, width, first, total, v.p[INDEX], v.p[Z], v.p[H], v.p[KEPT], v.p[ALPHA], v.p[BETA], v.p[CHORD], v.p[OFFSET],
                 v.p[OPEN], v.p[MADE], v.p[FLOOR], v.p[IN_ALPHA], v.p[IN_BETA], v.p[IN_SCALE]);
    Py_END_ALLOW_THREADS
    return done(&v);
}

/* One step of Adam, in place: x falls along its slope and is kept between low and high. */
CLONES static void step_all(Py_ssize_t n, float *restrict x, const float *restrict slope, float *restrict mean,
                            float *restrict square, float keep, float fresh, float keep_square, float fresh_square, float rate, float unbiased, float low, float high)
{
    INDEPENDENT
    for (Py_ssize_t i = 0; i < n; i++) {
        const float g = slope[i], m = keep * mean[i] + fresh * g, v = keep_square * square[i] + fresh_square * g * g;
        const float y = x[i] - rate * m / (sqrtf(unbiased * v) + TINY), up = y < low ? low : y;
        mean[i] = m;
        square[i] = v;
        x[i] = up > high ? high : up;
    }
}

static PyObject *step(PyObject *self, PyObject *args)
{
    PyObject *o[4];
    float keep, fresh, keep_square, fresh_square, rate, unbiased, low, high;
    if (!PyArg_ParseTuple(args, "OOOOffffffff", &o[0], &o[1], &o[2], &o[3], &keep, &fresh, &keep_square, &fresh_square, &rate,
                          &unbiased, &low, &high))
        return NULL;
    enum { X, SLOPE, MEAN, SQUARE, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "ffff", (1 << X) | (1 << MEAN) | (1 << SQUARE)))
        return NULL;
    if (!v.p[X] || v.n[SLOPE] != v.n[X] || v.n[MEAN] != v.n[X] || v.n[SQUARE] != v.n[X])
        return refused(&v, "step: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    step_all(v.n[X], v.p[X], v.p[SLOPE], v.p[MEAN], v.p[SQUARE], keep, fresh, keep_square, fresh_square, rate, unbiased, low, high);
    Py_END_ALLOW_THREADS
    return done(&v);
}

/* The gain p . d at t, each coordinate as far as it may go, and d. */
CLONES static float move_row(Py_ssize_t n, const float *restrict p, const float *restrict up, const float *restrict down, float t,
                             float *restrict moved)
{
    float sum = 0.0f;
    INDEPENDENT
    for (Py_ssize_t k = 0; k < n; k++) {
        const float x = p[k], u = up[k], w = down[k], a = u < t ? u : t, b = w < t ? w : t, d = x > 0.0f ? a : -b;
        moved[k] = d;
        sum += x * d;
    }
    return sum;
}

/* What a further unit of t gains just below t = bound: the pulls whose rooms reach it. */
CLONES static float steep_at(Py_ssize_t n, const float *p, const float *up, const float *down, float bound)
{
    float sum = 0.0f;
    INDEPENDENT
    for (Py_ssize_t k = 0; k < n; k++) {
        const float x = p[k], u = up[k], w = down[k], room = x > 0.0f ? u : w, size = x > 0.0f ? x : -x;
        sum += room >= bound ? size : 0.0f;
    }
    return sum;
}

/* What is gained up to t = bound, and what a further unit of t gains just above it. */
CLONES static float gained_at(Py_ssize_t n, const float *restrict p, const float *restrict up, const float *restrict down, float bound,
                              float *steep)
{
    float sum = 0.0f, rate = 0.0f;
    INDEPENDENT
    for (Py_ssize_t k = 0; k < n; k++) {
        const float x = p[k], u = up[k], w = down[k], room = x > 0.0f ? u : w, size = x > 0.0f ? x : -x;
        sum += size * (room < bound ? room : bound);
        rate += room > bound ? size : 0.0f;
    }
    *steep = rate;
    return sum;
}

static inline float pulled(const float *p, int32_t entry, Py_ssize_t n)
{
    if (entry < 0 || entry >= 2 * n)
        return 0.0f;
    const float x = entry < n ? p[entry] : -p[entry - n];
    return x > 0.0f ? x : 0.0f;
}

/* order: entries of (up, down) by ascending room; rooms: those, cut at far; first, last: how many are <= near, < far. */
static float best_t(Py_ssize_t n, const float *p, const float *up, const float *down, float near, float far, const int32_t *order,
                    const float *rooms, Py_ssize_t first, Py_ssize_t last, float price, int power)
{
    double steep = steep_at(n, p, up, down, far), upper = far;
    if (power == 1) {
        if (steep > price)
            return far;
        float counted = far, least = near;
        while (last - first > WALK) { /* passes cost less than steps at random */
            const Py_ssize_t middle = first + (last - first) / 2;
            const float some = steep_at(n, p, up, down, rooms[middle]);
            if (some > price) {
                first = middle;
                least = rooms[middle];
            } else {
                last = middle;
                counted = rooms[middle];
                steep = some;
            }
        }
        for (Py_ssize_t i = last - 1; i >= first; i--) {
            steep += rooms[i] < counted ? pulled(p, order[i], n) : 0.0f;
            if (steep > price)
                return rooms[i];
        }
        return least;
    }
    for (Py_ssize_t i = last - 1;; i--) {
        const double lower = i >= first ? rooms[i] : near;
        if (steep > 2.0 * price * upper)
            return (float)upper;
        if (price > 0.0f && steep / (2.0 * price) >= lower)
            return (float)(steep / (2.0 * price));
        if (i < first)
            return near;
        steep += pulled(p, order[i], n);
        upper = lower;
    }
}

static PyObject *peaks(PyObject *self, PyObject *args)
{
    int power;
    PyObject *o[14];
    if (!PyArg_ParseTuple(args, "iOOOOOOOOOOOOOO", &power, &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10],
                          &o[11], &o[12], &o[13]))
        return NULL;
    enum { SHELL, PULL, PRICE, UP, DOWN, NEAR, FAR, ORDER, ROOMS, FIRST, LAST, VALUE, MOVED, T, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "qffffffifqqfff", (1 << VALUE) | (1 << MOVED) | (1 << T)))
        return NULL;
    const Py_ssize_t rows = v.n[PRICE], shells = v.n[NEAR], n = rows ? v.n[PULL] / rows : 0;
    int good = v.n[PULL] == rows * n && v.n[MOVED] == rows * n && v.n[VALUE] == rows && v.n[T] == rows && v.n[FAR] == shells;
    good = good && v.n[FIRST] == shells && v.n[LAST] == shells && (power == 1 || power == 2);
    if (good && rows)
        good = v.n[UP] == shells * n && v.n[DOWN] == shells * n && v.n[ORDER] == 2 * shells * n && v.n[ROOMS] == shells * (2 * n + 1);
    if (!good || !indices(&v, SHELL, rows, shells) || !indices(&v, FIRST, shells, 2 * n + 1)
        || !indices(&v, LAST, shells, 2 * n + 1))
        return refused(&v, "peaks: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    const int64_t *shell = v.p[SHELL], *first = v.p[FIRST], *last = v.p[LAST];
    const float *near = v.p[NEAR], *far = v.p[FAR], *price = v.p[PRICE];
    float *value = v.p[VALUE], *out = v.p[T];
    for (Py_ssize_t r = 0; r < rows; r++) {
        const int64_t s = shell[r];
        const float *p = (const float *)v.p[PULL] + r * n, *up = (const float *)v.p[UP] + s * n, *down = (const float *)v.p[DOWN] + s * n;
        const int32_t *order = (const int32_t *)v.p[ORDER] + s * 2 * n;
        const float *rooms = (const float *)v.p[ROOMS] + s * (2 * n + 1);
        float t = best_t(n, p, up, down, near[s], far[s], order, rooms, (Py_ssize_t)first[s], (Py_ssize_t)last[s], price[r], power);
        t = t < near[s] ? near[s] : t > far[s] ? far[s] : t;
        value[r] = move_row(n, p, up, down, t, (float *)v.p[MOVED] + r * n) - price[r] * (power == 1 ? t : t * t);
        out[r] = t;
    }
    Py_END_ALLOW_THREADS
    return done(&v);
}

/* The segment between two rooms in which level + the gain reaches 0: its start, what is reached there, its slope. */
static PyObject *crossings(PyObject *self, PyObject *args)
{
    PyObject *o[14];
    if (!PyArg_ParseTuple(args, "OOOOOOOOOOOOOO", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9], &o[10], &o[11],
                          &o[12], &o[13]))
        return NULL;
    enum { SHELL, PULL, LEVEL, UP, DOWN, NEAR, FAR, ORDER, ROOMS, FIRST, LAST, START, REACHED, SLOPE, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "qffffffifqqfff", (1 << START) | (1 << REACHED) | (1 << SLOPE)))
        return NULL;
    const Py_ssize_t rows = v.n[LEVEL], shells = v.n[NEAR], n = rows ? v.n[PULL] / rows : 0;
    int good = v.n[PULL] == rows * n && v.n[START] == rows && v.n[REACHED] == rows && v.n[SLOPE] == rows && v.n[FAR] == shells;
    good = good && v.n[FIRST] == shells && v.n[LAST] == shells;
    if (good && rows)
        good = v.n[UP] == shells * n && v.n[DOWN] == shells * n && v.n[ORDER] == 2 * shells * n && v.n[ROOMS] == shells * (2 * n + 1);
    if (!good || !indices(&v, SHELL, rows, shells) || !indices(&v, FIRST, shells, 2 * n + 1)
        || !indices(&v, LAST, shells, 2 * n + 1))
        return refused(&v, "crossings: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    const int64_t *shell = v.p[SHELL], *first = v.p[FIRST], *last = v.p[LAST];
    const float *near = v.p[NEAR], *far = v.p[FAR], *level = v.p[LEVEL];
    float *start = v.p[START], *reached = v.p[REACHED], *slope = v.p[SLOPE];
    for (Py_ssize_t r = 0; r < rows; r++) {
        const int64_t s = shell[r];
        const float *p = (const float *)v.p[PULL] + r * n, *up = (const float *)v.p[UP] + s * n, *down = (const float *)v.p[DOWN] + s * n;
        const int32_t *order = (const int32_t *)v.p[ORDER] + s * 2 * n;
        const float *rooms = (const float *)v.p[ROOMS] + s * (2 * n + 1);
        float rate;
        double at = near[s], sum = (double)level[r] + gained_at(n, p, up, down, near[s], &rate);
        double steep = near[s] < far[s] ? rate : steep_at(n, p, up, down, far[s]);
        Py_ssize_t from = (Py_ssize_t)first[s], to = (Py_ssize_t)last[s];
        float counted = near[s];
        while (to - from > WALK) {
            const Py_ssize_t middle = from + (to - from) / 2;
            const double some = (double)level[r] + gained_at(n, p, up, down, rooms[middle], &rate);
            if (some >= 0.0) {
                to = middle;
            } else {
                from = middle + 1;
                counted = rooms[middle];
                at = counted;
                sum = some;
                steep = rate;
            }
        }
        for (Py_ssize_t i = from; i < (Py_ssize_t)last[s]; i++) {
            const double gain = steep * (rooms[i] - at);
            if (sum + gain >= 0.0)
                break;
            sum += gain;
            at = rooms[i];
            steep -= rooms[i] > counted ? pulled(p, order[i], n) : 0.0f;
        }
        start[r] = (float)at;
        reached[r] = (float)sum;
        slope[r] = steep > 0.0 ? (float)steep : 0.0f;
    }
    Py_END_ALLOW_THREADS
    return done(&v);
}

/* The displacements that gain most at given t. */
static PyObject *moves(PyObject *self, PyObject *args)
{
    PyObject *o[6];
    if (!PyArg_ParseTuple(args, "OOOOOO", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5]))
        return NULL;
    enum { SHELL, PULL, T, UP, DOWN, MOVED, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "qfffff", 1 << MOVED))
        return NULL;
    const Py_ssize_t rows = v.n[T], n = rows ? v.n[PULL] / rows : 0, shells = n ? v.n[UP] / n : 0;
    const int good = v.n[PULL] == rows * n && v.n[MOVED] == rows * n && (!rows || (v.n[UP] == shells * n && v.n[DOWN] == shells * n));
    if (!good || !indices(&v, SHELL, rows, n ? shells : INT64_MAX))
        return refused(&v, "moves: arrays do not go together");
    Py_BEGIN_ALLOW_THREADS
    const int64_t *shell = v.p[SHELL];
    for (Py_ssize_t r = 0; r < rows; r++)
        move_row(n, (const float *)v.p[PULL] + r * n, (const float *)v.p[UP] + shell[r] * n, (const float *)v.p[DOWN] + shell[r] * n,
                 ((const float *)v.p[T])[r], (float *)v.p[MOVED] + r * n);
    Py_END_ALLOW_THREADS
    return done(&v);
}

static PyMethodDef methods[] = {
    {"back", back, METH_VARARGS, "back(first, total, index, q, nu, kept, alpha, beta, chord, offset, open, made, floor, scale, constant)"},
    {"forward", forward, METH_VARARGS,
     "forward(first, total, index, z, h, kept, alpha, beta, chord, offset, open, made, floor, in_alpha, in_beta, in_scale)"},
    {"step", step, METH_VARARGS, "step(x, slope, mean, square, keep, fresh, keep_square, fresh_square, rate, unbiased, low, high)"},
    {"peaks", peaks, METH_VARARGS, "peaks(power, shell, pull, price, up, down, near, far, order, rooms, first, last, value, moved, t)"},
    {"crossings", crossings, METH_VARARGS,
     "crossings(shell, pull, level, up, down, near, far, order, rooms, first, last, start, reached, slope)"},
    {"moves", moves, METH_VARARGS, "moves(shell, pull, t, up, down, moved)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "steering", .m_doc = "Passes and peaks in single precision.", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit_steering(void)
{
    return PyModule_Create(&module);
}
