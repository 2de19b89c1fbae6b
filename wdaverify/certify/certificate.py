import numpy as np
def rounded(vectors, bits=40):
    mantissa, exponent = np.frexp(vectors)
    return np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits)
