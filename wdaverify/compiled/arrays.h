/* Arrays handed in by numpy: contiguous, of the type that is expected, and no shorter than what is read. */

#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

#if defined(__GNUC__)
#define ALWAYS inline __attribute__((always_inline))
#else
#define ALWAYS inline
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define INDEPENDENT _Pragma("GCC ivdep")
#elif defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT
#endif

#define MOST 24

typedef struct {
    Py_buffer buffer[MOST];
    void *p[MOST];
    Py_ssize_t n[MOST];
    int count;
} Views;

static PyObject *refused(Views *v, const char *why)
{
    for (int k = 0; k < v->count; k++)
        if (v->p[k])
            PyBuffer_Release(&v->buffer[k]);
    PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

static PyObject *done(Views *v)
{
    for (int k = 0; k < v->count; k++)
        if (v->p[k])
            PyBuffer_Release(&v->buffer[k]);
    Py_RETURN_NONE;
}

/* Whether a buffer's format is the kind: f, d, i (32 bits), q (64 bits, as q or l), b, B. */
static int is_kind(const char *format, char kind, Py_ssize_t size)
{
    if (!format || strlen(format) != 1)
        return 0;
    switch (kind) {
    case 'q': return (*format == 'q' || *format == 'l') && size == 8;
    case 'i': return (*format == 'i' || *format == 'l') && size == 4;
    default: return *format == kind;
    }
}

/* Views of count objects; None is no array, of length 0. Bit k of written: the k-th is written to. */
static int views(Views *v, PyObject **o, int count, const char *kinds, int written)
{
    v->count = 0;
    for (int k = 0; k < count; k++) {
        v->p[k] = NULL;
        v->n[k] = 0;
        v->count = k + 1;
        if (o[k] == Py_None)
            continue;
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | ((written >> k) & 1 ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(o[k], &v->buffer[k], flags) < 0) {
            v->count = k;
            PyErr_Clear();
            refused(v, "contiguous arrays are accepted, writable ones where results go");
            return 0;
        }
        v->p[k] = v->buffer[k].buf;
        if (!v->p[k]) { /* an empty buffer may have no address */
            PyBuffer_Release(&v->buffer[k]);
            continue;
        }
        if (!is_kind(v->buffer[k].format, kinds[k], v->buffer[k].itemsize)) {
            refused(v, "arrays of the types that the twin in numpy takes are accepted");
            return 0;
        }
        v->n[k] = v->buffer[k].len / v->buffer[k].itemsize;
    }
    return 1;
}

/* Whether the k-th array has count indices below limit. */
static inline int indices(const Views *v, int k, Py_ssize_t count, Py_ssize_t limit)
{
    if (v->n[k] != count)
        return 0;
    const int64_t *index = v->p[k];
    for (Py_ssize_t i = 0; i < count; i++)
        if (index[i] < 0 || index[i] >= limit)
            return 0;
    return 1;
}

/* The same of an array that may be None: then rows are their own. */
static inline int within(const Views *v, int k, Py_ssize_t count, Py_ssize_t limit)
{
    return v->p[k] ? indices(v, k, count, limit) : count <= limit;
}
