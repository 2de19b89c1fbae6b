"""The exceptions that wdaverify raises on purpose.

    WdaverifyError
    |-- InputError                what the user gave cannot be used (exit status 2)
    |   |-- NetworkError          the ONNX file: unreadable, or an operator or shape outside the accepted list
    |   |-- SamplesError          the data file: shapes, labels, non-finite numbers, points outside the support
    |   |-- SpecificationError    the specification file: unreadable, or outside the accepted part of VNN-LIB
    |   |-- ProblemError          a combination of radius, order, norm, loss and support that is not supported
    |   |-- DocumentError         a result file that cannot be read as one, or pictures that do not fit it
    |   |-- CertificateError      a certificate that cannot be read (one that proves nothing is rejected, no error)
    |   |-- JournalError          a journal's folder that is in use, cannot be written, or is none
    |   `-- OutputError           a file that cannot be written
    |-- ExecutorLostError         what others lent to solve on is gone (ends a run with its bracket so far)
    `-- SolverError               a back-end is missing, refused the model, or broke down (never ends a run: bounds widen)

Every message is one line that says what was found, what is accepted, and what to do.
"""


class WdaverifyError(Exception):
    """Base of every exception that wdaverify raises on purpose."""


class InputError(WdaverifyError):
    """What the user gave cannot be used; the message says what is accepted and what to do."""


class NetworkError(InputError):
    """The network file cannot be read as affine maps and piecewise-linear functions, or a graph of one's own is none."""


class SamplesError(InputError):
    """The samples cannot be used with this network and support."""


class SpecificationError(InputError):
    """The specification cannot be read as boxes and linear rows, or is about another network."""


class ProblemError(InputError):
    """The question itself is ill-posed or not supported."""


class CertificateError(InputError):
    """A certificate cannot be read; one that can be read and proves nothing is no error but rejected."""


class JournalError(InputError):
    """The folder of a journal is in use, cannot be written, or holds something else."""


class DocumentError(InputError):
    """A result file cannot be reported: unreadable, not of a published schema, or contradicting itself."""


class OutputError(InputError):
    """A result file cannot be written."""


class ExecutorLostError(WdaverifyError):
    """The executor or scheduler that was to solve is gone; the run ends with its bracket so far."""


class SolverError(WdaverifyError):
    """A back-end is missing, refused a model, or broke down; callers widen the bracket and go on."""
