"""
Every error resift raises on purpose.

    ResiftError
    ├── InvalidInput (also ValueError)         the caller's argument cannot mean anything
    ├── ModelNotFound                          no such model, or its files are missing or damaged
    ├── ModelUnsupported                       the model is there, but it cannot rank as it is
    ├── MissingDependency (also ImportError)   an extra is needed; the message names it
    ├── ScoringFailed                          the model could not score this call
    └── Overloaded                             too much work is waiting; try again later

A message says what is wrong, shows the value and says what to do; never a key, never a document's text.
"""


class ResiftError(Exception):
    """Anything resift raises on purpose."""


class InvalidInput(ResiftError, ValueError):
    """An argument that cannot mean anything."""


class ModelNotFound(ResiftError):
    """No such model, or its files are missing or damaged."""


class ModelUnsupported(ResiftError):
    """The model was found, but it cannot rank as it is."""


class MissingDependency(ResiftError, ImportError):
    """An optional dependency is needed; the message names the extra that brings it."""


class ScoringFailed(ResiftError):
    """The model could not score this call."""


class Overloaded(ResiftError):
    """Too much work is waiting already; nothing was accepted."""
