"""The errors that kdumpd raises: a small tree, each with a text fit to be shown as it is."""

import os


class KdumpError(Exception):
    """Base of every error that kdumpd raises on purpose. Its text is one line, without a trailing period."""


class ConfigError(KdumpError):
    """A setting or argument is wrong; the text names the file, the key and the reason."""


class StorageError(KdumpError):
    """The target storage cannot be used; the text says why."""


class FormatError(KdumpError):
    """Bytes are not what their format promises (flattened stream, kdump header, vmcore, record)."""


class DumpError(KdumpError):
    """A dump or log could not be made; the text is the WHY of the reason line."""


def innermost(error: BaseException) -> BaseException:
    """The first error inside the groups that nurseries put around errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def trouble(error: OSError) -> str:
    """The system's own words for an error, without paths or numbers."""
    return os.strerror(error.errno) if error.errno else str(error)
