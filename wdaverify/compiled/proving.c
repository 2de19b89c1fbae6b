/* What a proof pass does at ReLUs and at the input (l-inf), in double precision: the formulas of certify/backward.py and certify/peak.py.

   Each sum is one of at most as many terms as there, in another order, which their error bounds allow; products and sums are not fused, so
   that every machine finds the same. What is not finite stays so. The twins in numpy are the checker's own, and the test. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "arrays.h"

#define LANES 8
#define HALVINGS 8
#define UNIT_ROUNDOFF 0x1p-53
#define STEPS 200
#define FARTHEST 1e100

enum { LENGTH_IS, GAIN_IS, SLOPE_IS };

static double total_of(const double *lanes)
{
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/* The slopes at an interval where q > 0 and elsewhere: below an open ReLU the given one, or CROWN's (graph.functions.lower_slope). */
CLONES static void slopes_of(Py_ssize_t width, const double *restrict low, const double *restrict high, const double *restrict given,
                             double *restrict rise, double *restrict fall)
{
    INDEPENDENT
    for (Py_ssize_t j = 0; j < width; j++) {
        const double l = low[j], u = high[j], run = u > l ? u - l : 1.0;
        double lean = ((u + l) / (u - l + 1e-300) - 0x1p-26) / 0x1p-14;
        lean = lean < 0.0 ? 0.0 : lean;
        lean = lean > 1.0 ? 1.0 : lean;
        const double below = given ? given[j] : lean, closed = l >= 0.0 ? 1.0 : 0.0;
        const int open = !(l >= 0.0) && !(u <= 0.0);
        rise[j] = open ? u / run : closed;
        fall[j] = open ? below : closed;
    }
}

/* nu along the slopes, plus what is added; or as it is given. */
CLONES static void nu_row(Py_ssize_t width, const double *restrict q, const double *restrict rise, const double *restrict fall,
                          const double *restrict beta, const double *restrict lift, const double *restrict given, double *restrict nu)
{
    if (given) {
        INDEPENDENT
        for (Py_ssize_t j = 0; j < width; j++)
            nu[j] = given[j];
        return;
    }
    INDEPENDENT
    for (Py_ssize_t j = 0; j < width; j++) {
        const double x = q[j], r = rise[j], f = fall[j], slope = x > 0.0 ? r : f;
        nu[j] = x * slope;
    }
    if (beta) {
        INDEPENDENT
        for (Py_ssize_t j = 0; j < width; j++)
            nu[j] += beta[j] + lift[j];
    }
}

/* Add, lane by lane, the gain  max q relu(z) - (nu - lift) z,  its size and what computing it may have rounded. */
static ALWAYS void gain_lanes(const double *restrict q, const double *restrict nu, const double *restrict lift, const double *restrict low,
                              const double *restrict high, double less, double *restrict gains, double *restrict sizes,
                              double *restrict lost)
{
    for (int k = 0; k < LANES; k++) {
        const double x = q[k], l = low[k], u = high[k], rest = nu[k] - lift[k];
        const double a = l > 0.0 ? l : 0.0, b = u > 0.0 ? u : 0.0, bottom = x * a - rest * l, top = x * b - rest * u;
        double gain = bottom > top ? bottom : top;
        gain = bottom != bottom ? bottom : gain;
        const double most = gain < 0.0 ? 0.0 : gain;
        gain = (l < 0.0) & (u > 0.0) ? most : gain;
        const double size = fabs(l) > fabs(u) ? fabs(l) : fabs(u);
        gains[k] += gain;
        sizes[k] += fabs(gain);
        lost[k] += 4.0 * UNIT_ROUNDOFF * ((fabs(x) + fabs(rest)) * size) + less * (fabs(rest) * size);
    }
}

CLONES static void gain_row(Py_ssize_t width, const double *restrict q, const double *restrict nu, const double *restrict lift,
                            const double *restrict low, const double *restrict high, double *restrict sums)
{
    double gains[LANES] = {0}, sizes[LANES] = {0}, lost[LANES] = {0}, none[LANES] = {0};
    const double less = lift ? 2.0 * UNIT_ROUNDOFF : 0.0;
    Py_ssize_t j = 0;
    for (; j + LANES <= width; j += LANES)
        gain_lanes(q + j, nu + j, lift ? lift + j : none, low + j, high + j, less, gains, sizes, lost);
    if (j < width) {
        double part[5][LANES] = {{0}};
        for (Py_ssize_t k = 0; j + k < width; k++) {
            part[0][k] = q[j + k];
            part[1][k] = nu[j + k];
            part[2][k] = lift ? lift[j + k] : 0.0;
            part[3][k] = low[j + k];
            part[4][k] = high[j + k];
        }
        gain_lanes(part[0], part[1], part[2], part[3], part[4], less, gains, sizes, lost);
    }
    sums[0] = total_of(gains);
    sums[1] = total_of(sizes);
    sums[2] = total_of(lost);
}

CLONES static double product(Py_ssize_t n, const double *restrict a, const double *restrict b)
{
    double lanes[LANES] = {0};
    Py_ssize_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += a[j + k] * b[j + k];
    for (int k = 0; j + k < n; k++)
        lanes[k] += a[j + k] * b[j + k];
    return total_of(lanes);
}

static PyObject *relu(PyObject *self, PyObject *args)
{
    Py_ssize_t first, total;
    PyObject *o[13];
    if (!PyArg_ParseTuple(args, "nnOOOOOOOOOOOOO", &first, &total, &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9],
                          &o[10], &o[11], &o[12]))
        return NULL;
    enum { Q, SLIP, LOW, HIGH, REACH, GIVEN, SLOPES, BETA, LIFT, NU, GAIN, SIZE, LOST, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "ddddddddddddd", (1 << NU) | (1 << GAIN) | (1 << SIZE) | (1 << LOST)))
        return NULL;
    const Py_ssize_t each = v.n[GAIN], width = each ? v.n[Q] / each : 0, nodes = width ? v.n[LOW] / width : 0;
    const Py_ssize_t rows = nodes ? each / nodes : 0;
    int good = v.n[Q] == each * width && v.n[NU] == v.n[Q] && v.n[SIZE] == each && v.n[LOST] == each && rows * nodes == each;
    good = good && v.n[LOW] == nodes * width && v.n[HIGH] == v.n[LOW] && v.n[REACH] == v.n[LOW] && first >= 0 && first + width <= total;
    good = good && (!v.p[SLIP] || v.n[SLIP] == v.n[Q]) && (v.p[BETA] != NULL) == (v.p[LIFT] != NULL);
    good = good && (v.p[BETA] != NULL) == (v.p[SLOPES] != NULL) && !(v.p[GIVEN] && v.p[SLOPES]);
    for (int k = GIVEN; k <= LIFT; k++)
        good = good && (!v.p[k] || v.n[k] == nodes * total);
    double *scratch = good ? malloc(sizeof(double) * 2 * (size_t)(width + 1)) : NULL;
    if (!good || !scratch) {
        free(scratch);
        return refused(&v, "relu: arrays do not go together");
    }
    Py_BEGIN_ALLOW_THREADS
    double *rise = scratch, *fall = scratch + width, *gain = v.p[GAIN], *size = v.p[SIZE], *lost = v.p[LOST];
    for (Py_ssize_t b = 0; b < nodes; b++) {
        const double *low = (const double *)v.p[LOW] + b * width, *high = (const double *)v.p[HIGH] + b * width;
        const double *part[4];
        for (int k = 0; k < 4; k++)
            part[k] = v.p[GIVEN + k] ? (const double *)v.p[GIVEN + k] + b * total + first : NULL;
        if (!part[0])
            slopes_of(width, low, high, part[1], rise, fall);
        for (Py_ssize_t r = b * rows; r < (b + 1) * rows; r++) {
            const double *q = (const double *)v.p[Q] + r * width;
            double *nu = (double *)v.p[NU] + r * width, sums[3];
            nu_row(width, q, rise, fall, part[2], part[3], part[0], nu);
            gain_row(width, q, nu, part[3], low, high, sums);
            gain[r] = sums[0];
            size[r] = sums[1];
            lost[r] = sums[2];
            if (v.p[SLIP])
                lost[r] += product(width, (const double *)v.p[SLIP] + r * width, (const double *)v.p[REACH] + b * width);
        }
    }
    Py_END_ALLOW_THREADS
    free(scratch);
    return done(&v);
}

/* Pulls' sizes and the rooms in their directions; the largest room. */
CLONES static double rooms_of(Py_ssize_t n, const double *restrict q, const double *restrict up, const double *restrict down,
                              double *restrict size, double *restrict room)
{
    double most[LANES] = {0};
    Py_ssize_t j = 0;
    INDEPENDENT
    for (Py_ssize_t k = 0; k < n; k++) {
        const double x = q[k], u = up[k], d = down[k];
        size[k] = fabs(x);
        room[k] = x > 0.0 ? u : d;
    }
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++)
            most[k] = room[j + k] > most[k] ? room[j + k] : most[k];
    for (; j < n; j++)
        most[0] = room[j] > most[0] ? room[j] : most[0];
    for (int k = 1; k < LANES; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    return most[0];
}

/* The sum of sizes whose rooms are at least a bound. */
CLONES static double beyond(Py_ssize_t n, const double *restrict size, const double *restrict room, double bound)
{
    double lanes[LANES] = {0};
    Py_ssize_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++) {
            const double s = size[j + k];
            lanes[k] += room[j + k] >= bound ? s : 0.0;
        }
    for (int k = 0; j + k < n; k++)
        lanes[k] += room[j + k] >= bound ? size[j + k] : 0.0;
    return total_of(lanes);
}

/* The room from which on sizes, roomiest first, use up a price; how much of those of that very room are used. All together exceed it. */
static double threshold(Py_ssize_t count, const double *size, const double *room, double most, double price, double *restrict sizes,
                        double *restrict rooms, double *share)
{
    double low = 0.0, high = most, used = beyond(count, size, room, most);
    for (int k = 0; k < HALVINGS; k++) { /* passes cost less than branches that nothing foretells */
        const double middle = 0.5 * (low + high), some = beyond(count, size, room, middle);
        const int enough = some >= price;
        low = enough ? middle : low;
        high = enough ? high : middle;
        used = enough ? used : some;
    }
    Py_ssize_t n = 0;
    for (Py_ssize_t k = 0; k < count; k++) {
        sizes[n] = size[k];
        rooms[n] = room[k];
        n += (room[k] >= low) & (room[k] < high);
    }
    while (n > 0) {
        const double a = rooms[0], b = rooms[n / 2], c = rooms[n - 1];
        const double pivot = a > b ? (b > c ? b : (a > c ? c : a)) : (a > c ? a : (b > c ? c : b));
        Py_ssize_t more = 0, i = 0, less = n; /* [0, more) above the pivot, [more, i) at it, [less, n) below */
        double above = 0.0, at = 0.0;
        while (i < less) {
            const double r = rooms[i], s = sizes[i];
            if (r > pivot) {
                rooms[i] = rooms[more];
                sizes[i] = sizes[more];
                rooms[more] = r;
                sizes[more] = s;
                above += s;
                more++;
                i++;
            } else if (r < pivot) {
                less--;
                rooms[i] = rooms[less];
                sizes[i] = sizes[less];
                rooms[less] = r;
                sizes[less] = s;
            } else {
                at += s;
                i++;
            }
        }
        if (used + above >= price) {
            n = more;
        } else if (used + above + at >= price) {
            *share = (price - used - above) / at;
            return pivot;
        } else {
            used += above + at;
            rooms += less;
            sizes += less;
            n -= less;
        }
    }
    *share = 1.0;
    return 0.0;
}

typedef struct {
    double paid[LANES], kept[LANES], moved[LANES], away[LANES], at[LANES];
} Lanes;

/* Add, lane by lane, what the distance pays, what is kept, and |q| . reach, |q| . |c|, q . c. */
static ALWAYS void sum_lanes(const double *restrict q, const double *restrict size, const double *restrict room, const double *restrict up,
                             const double *restrict down, const double *restrict centre, double bound, double share, double near,
                             Lanes *restrict sums)
{
    for (int k = 0; k < LANES; k++) {
        const double s = size[k], r = room[k], u = up[k], d = down[k], c = centre[k], part = s * share;
        const double tied = r == bound ? part : 0.0, some = r > bound ? s : tied;
        const double less = some < s ? some : s, taken = r > near ? less : 0.0;
        sums->paid[k] += taken;
        sums->kept[k] += (s - taken) * r;
        sums->moved[k] += s * (u > d ? u : d);
        sums->away[k] += s * fabs(c);
        sums->at[k] += q[k] * c;
    }
}

CLONES static void sums_of(Py_ssize_t n, const double *restrict q, const double *restrict size, const double *restrict room,
                           const double *restrict up, const double *restrict down, const double *restrict centre, double bound, double share,
                           double near, double *restrict sums)
{
    Lanes lanes = {{0}, {0}, {0}, {0}, {0}};
    Py_ssize_t j = 0;
    for (; j + LANES <= n; j += LANES)
        sum_lanes(q + j, size + j, room + j, up + j, down + j, centre + j, bound, share, near, &lanes);
    if (j < n) {
        double part[6][LANES] = {{0}};
        for (Py_ssize_t k = 0; j + k < n; k++) {
            part[0][k] = q[j + k];
            part[1][k] = size[j + k];
            part[2][k] = room[j + k];
            part[3][k] = up[j + k];
            part[4][k] = down[j + k];
            part[5][k] = centre[j + k];
        }
        sum_lanes(part[0], part[1], part[2], part[3], part[4], part[5], bound, share, near, &lanes);
    }
    sums[0] = total_of(lanes.paid);
    sums[1] = total_of(lanes.kept);
    sums[2] = total_of(lanes.moved);
    sums[3] = total_of(lanes.away);
    sums[4] = total_of(lanes.at);
}

static PyObject *peak(PyObject *self, PyObject *args)
{
    PyObject *o[10];
    if (!PyArg_ParseTuple(args, "OOOOOOOOOO", &o[0], &o[1], &o[2], &o[3], &o[4], &o[5], &o[6], &o[7], &o[8], &o[9]))
        return NULL;
    enum { Q, SLIP, CENTRE, UP, DOWN, NEAR, FAR, TAU, TOP, SPREAD, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "dddddddddd", (1 << TOP) | (1 << SPREAD)))
        return NULL;
    const Py_ssize_t shells = v.n[NEAR], each = v.n[TOP], n = shells ? v.n[UP] / shells : 0, rows = shells ? each / shells : 0;
    int good = v.n[FAR] == shells && v.n[TAU] == shells && rows * shells == each && v.n[SPREAD] == each && v.n[Q] == each * n;
    good = good && v.n[UP] == shells * n && v.n[DOWN] == v.n[UP] && v.n[CENTRE] == v.n[UP] && (!v.p[SLIP] || v.n[SLIP] == v.n[Q]);
    double *scratch = good ? malloc(sizeof(double) * 4 * (size_t)(n + 1)) : NULL;
    if (!good || !scratch) {
        free(scratch);
        return refused(&v, "peak: arrays do not go together");
    }
    Py_BEGIN_ALLOW_THREADS
    double *size = scratch, *room = size + n, *sizes = room + n, *rooms = sizes + n, *top = v.p[TOP], *spread = v.p[SPREAD];
    for (Py_ssize_t b = 0; b < shells; b++) {
        const double *centre = (const double *)v.p[CENTRE] + b * n, *up = (const double *)v.p[UP] + b * n;
        const double *down = (const double *)v.p[DOWN] + b * n;
        const double near = ((const double *)v.p[NEAR])[b], far = ((const double *)v.p[FAR])[b], tau = ((const double *)v.p[TAU])[b];
        for (Py_ssize_t r = b * rows; r < (b + 1) * rows; r++) {
            const double *q = (const double *)v.p[Q] + r * n, roomiest = rooms_of(n, q, up, down, size, room);
            double bound = INFINITY, share = 0.0, sums[5]; /* nothing is paid for */
            if (tau > 0.0) {
                const double most = beyond(n, size, room, roomiest);
                if (most >= tau && most > 0.0) {
                    bound = roomiest;
                    share = tau / most;
                } else if (beyond(n, size, room, 0.0) <= tau) {
                    bound = -1.0;
                } else {
                    bound = threshold(n, size, room, roomiest, tau, sizes, rooms, &share);
                }
            }
            sums_of(n, q, size, room, up, down, centre, bound, share, near, sums);
            const double paid = sums[0], kept = sums[1], rate = paid - tau, travel = rate > 0.0 ? rate * far : rate * near;
            const double moved = 3.0 * sums[2] + 3.0 * fabs(kept) + 3.0 * fabs(paid) * far;
            double lost = 0.0;
            if (v.p[SLIP]) {
                const double *slip = (const double *)v.p[SLIP] + r * n;
                for (Py_ssize_t k = 0; k < n; k++)
                    lost += slip[k] * (fabs(centre[k]) + (up[k] > down[k] ? up[k] : down[k]));
            }
            top[r] = sums[4] + kept + travel + 1.001 * lost;
            spread[r] = sums[3] + 2.0 * moved + 2.0 * (tau * far);
        }
    }
    Py_END_ALLOW_THREADS
    free(scratch);
    return done(&v);
}

/* Of a stretch s of all pulls, each up to its room: the squares of rooms that are used up and their gain, the squares of other pulls. */
static ALWAYS void stretched(Py_ssize_t n, const double *restrict size, const double *restrict room, double s, double *restrict sums)
{
    double taken[LANES] = {0}, gained[LANES] = {0}, rest[LANES] = {0};
    Py_ssize_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++) {
            const double p = size[j + k], r = room[j + k], square = r * r, gain = p * r, other = p * p;
            const int full = s * p >= r;
            taken[k] += full ? square : 0.0;
            gained[k] += full ? gain : 0.0;
            rest[k] += full ? 0.0 : other;
        }
    for (int k = 0; j + k < n; k++) {
        const double p = size[j + k], r = room[j + k];
        const int full = s * p >= r;
        taken[k] += full ? r * r : 0.0;
        gained[k] += full ? p * r : 0.0;
        rest[k] += full ? 0.0 : p * p;
    }
    sums[0] = total_of(taken);
    sums[1] = total_of(gained);
    sums[2] = total_of(rest);
}

/* The stretch at which a length is reached, a gain, or a slope (length over stretch): Newton on a concave function, from the side on which
   it cannot pass the root, so that each step uses up, or frees, more rooms until none is left. */
CLONES static double stretch_of(Py_ssize_t n, const double *restrict size, const double *restrict room, int kind, double target)
{
    double sums[3], s = kind == SLOPE_IS ? FARTHEST : 0.0;
    if (kind != SLOPE_IS && target <= 0.0)
        return 0.0;
    if (kind == SLOPE_IS) {
        stretched(n, size, room, 0.0, sums);
        if (!(sums[2] > target * target))
            return 0.0;
    }
    for (int step = 0; step < STEPS; step++) {
        double next;
        stretched(n, size, room, s, sums);
        if (kind == SLOPE_IS) {
            const double spare = target * target - sums[2];
            next = spare > 0.0 ? sqrt(sums[0] / spare) : INFINITY;
            if (!(next < s))
                return step || spare > 0.0 ? s : INFINITY;
        } else {
            const double more = kind == LENGTH_IS ? target * target - sums[0] : target - sums[1];
            if (!(sums[2] > 0.0))
                return more > 0.0 ? INFINITY : s;
            next = kind == LENGTH_IS ? sqrt((more > 0.0 ? more : 0.0) / sums[2]) : more / sums[2];
            if (!(next > s))
                return s;
        }
        s = next;
    }
    return s;
}

static PyObject *stretch(PyObject *self, PyObject *args)
{
    int kind;
    PyObject *o[6];
    if (!PyArg_ParseTuple(args, "iOOOOOO", &kind, &o[0], &o[1], &o[2], &o[3], &o[4], &o[5]))
        return NULL;
    enum { INDEX, PULL, UP, DOWN, TARGET, OUT, COUNT };
    Views v;
    if (!views(&v, o, COUNT, "qddddd", 1 << OUT))
        return NULL;
    const Py_ssize_t rows = v.n[TARGET], n = rows ? v.n[PULL] / rows : 0, shells = n ? v.n[UP] / n : 0;
    int good = v.n[OUT] == rows && v.n[PULL] == rows * n && v.n[UP] == shells * n && v.n[DOWN] == v.n[UP];
    good = good && (kind == LENGTH_IS || kind == GAIN_IS || kind == SLOPE_IS) && (!n || within(&v, INDEX, rows, shells));
    double *scratch = good ? malloc(sizeof(double) * 2 * (size_t)(n + 1)) : NULL;
    if (!good || !scratch) {
        free(scratch);
        return refused(&v, "stretch: arrays do not go together");
    }
    Py_BEGIN_ALLOW_THREADS
    double *size = scratch, *room = size + n;
    const int64_t *index = v.p[INDEX];
    for (Py_ssize_t r = 0; r < rows; r++) {
        const Py_ssize_t b = index ? (Py_ssize_t)index[r] : r;
        rooms_of(n, (const double *)v.p[PULL] + r * n, (const double *)v.p[UP] + b * n, (const double *)v.p[DOWN] + b * n, size, room);
        for (Py_ssize_t k = 0; k < n; k++)
            room[k] = size[k] > 0.0 ? room[k] : 0.0;
        ((double *)v.p[OUT])[r] = stretch_of(n, size, room, kind, ((const double *)v.p[TARGET])[r]);
    }
    Py_END_ALLOW_THREADS
    free(scratch);
    return done(&v);
}

static PyMethodDef methods[] = {
    {"stretch", stretch, METH_VARARGS, "stretch(kind, index, pull, up, down, target, out); kind: 0 length, 1 gain, 2 slope"},
    {"relu", relu, METH_VARARGS, "relu(first, total, q, slip, low, high, reach, given, slopes, beta, lift, nu, gain, size, lost)"},
    {"peak", peak, METH_VARARGS, "peak(q, slip, centre, up, down, near, far, tau, top, spread)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "proving", .m_doc = "Parts of a proof pass in double precision.", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit_proving(void)
{
    return PyModule_Create(&module);
}
