"""Errors for a user's mistakes: each message names the thing, what was expected and what came."""

from __future__ import annotations


class RefarError(ValueError):
    """The base of every error that a user can cause and mend."""


class GraphError(RefarError):
    """A network description that has no meaning, or not the one that was asked for."""


class ParameterError(RefarError):
    """Parameters that do not fit their graph: missing, surplus, misshapen, of a wrong dtype, not finite."""


class InputError(RefarError):
    """Data, conditions, states or options that a graph cannot take."""


class FileError(RefarError):
    """A file or folder that is missing, damaged, or not what it claims to be."""


class BackendError(RefarError):
    """A backend or device that was asked for and is not there."""
